/** The 3D view: surfaces that can be turned, drawn by NiiVue. */

import { DRAG_MODE, Niivue, NVMesh, SLICE_TYPE } from "@niivue/niivue";
import type { Surface } from "./glb";
import type { Look } from "./look";
import type { Bridge } from "./messages";

/** Azimuth and elevation in degrees. */
export const SIDES = {
  Front: [180, 8],
  Back: [0, 8],
  "Patient's right": [90, 8],
  "Patient's left": [270, 8],
  Top: [180, 89],
} as const;
export type Side = keyof typeof SIDES;

const HIGHLIGHT = [255, 0, 214] as const;
const DIMMED = 0.12;
/** NiiVue leaves room for what is turned; patients are taller than deep. */
const WHOLE = 1.15;

export class SceneView {
  private readonly shown = new Map<string, { mesh: NVMesh; size: number; centre: number[] }>();
  private mark: NVMesh | null = null;
  /** The structure that the mark is in; all others are dimmed. */
  private marked: string | null = null;
  private readonly nv: Niivue;
  private readonly look: Look;

  private constructor(nv: Niivue, look: Look) {
    this.nv = nv;
    this.look = look;
    look.addEventListener("change", () => this.restyle());
  }

  /** @throws Error where the browser has no WebGL 2. */
  static async on(canvas: HTMLCanvasElement, look: Look): Promise<SceneView> {
    const nv = new Niivue({
      sliceType: SLICE_TYPE.RENDER,
      backColor: background(),
      show3Dcrosshair: false,
      isOrientCube: false,
      isOrientationTextVisible: false,
      loadingText: "",
      logLevel: "error",
      dragAndDropEnabled: false,
      dragMode: DRAG_MODE.none,
    });
    await nv.attachToCanvas(canvas, true);
    const view = new SceneView(nv, look);
    view.turn("Front");
    view.zoom(0);
    listen(canvas, view);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => {
      nv.opts.backColor = background();
      nv.drawScene();
    });
    return view;
  }

  get names(): string[] {
    return [...this.shown.keys()];
  }

  /** Middle of a structure in RAS+ mm. */
  centre(name: string): number[] | null {
    return this.shown.get(name)?.centre ?? null;
  }

  /** Show surfaces; those of the same names go, and with `alone` all others, too. */
  show(surfaces: Surface[], alone: boolean): void {
    const named = new Set(surfaces.map((s) => s.name));
    for (const name of this.names) if (alone || named.has(name)) this.remove(name);
    for (const { name, points, triangles } of surfaces) {
      const [r, g, b] = this.look.colour(name);
      const mesh = new NVMesh(points, triangles, name, new Uint8Array([r, g, b, 255]), 1, true, this.nv.gl);
      this.shown.set(name, { mesh, ...measure({ points, triangles }) });
    }
    this.restyle();
  }

  /** Point at a bridge, the rest dimmed; null: at none. */
  highlight(bridge: Bridge | null): void {
    if (this.mark !== null) this.nv.removeMesh(this.mark);
    this.mark = null;
    this.marked = bridge?.structure ?? null;
    if (bridge !== null) {
      const radius = 1.25 * Math.max(2, ...(bridge.radii_mm ?? []));
      const { points, triangles } = capsule(bridge.ends_mm[0], bridge.ends_mm[1], radius);
      this.mark = new NVMesh(
        points,
        triangles,
        "bridge",
        new Uint8Array([...HIGHLIGHT, 255]),
        1,
        true,
        this.nv.gl,
      );
    }
    this.restyle();
  }

  turn(side: Side): void {
    const [azimuth, elevation] = SIDES[side];
    this.nv.setRenderAzimuthElevation(azimuth, elevation);
  }

  rotate(azimuth: number, elevation: number): void {
    const scene = this.nv.scene;
    const up = Math.max(-90, Math.min(90, scene.renderElevation + elevation));
    this.nv.setRenderAzimuthElevation((scene.renderAzimuth + azimuth + 360) % 360, up);
  }

  zoom(factor: number): void {
    this.nv.setScale(
      factor === 0 ? WHOLE : Math.max(0.5, Math.min(8, this.nv.scene.volScaleMultiplier * factor)),
    );
  }

  /** Give memory and the graphics context back. */
  close(): void {
    this.nv.cleanup();
    this.nv.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  private remove(name: string): void {
    const found = this.shown.get(name);
    if (found === undefined) return;
    this.shown.delete(name);
    found.mesh.unloadMesh(this.nv.gl);
  }

  private restyle(): void {
    const drawn = [...this.shown].map(([name, { mesh, size }]) => {
      const style = this.look.style(name);
      mesh.visible = style.visible && style.opacity > 0;
      const dimmed = this.marked !== null && this.marked !== name;
      mesh.opacity = dimmed ? Math.min(style.opacity, DIMMED) : style.opacity;
      return { mesh, size };
    });
    // What can be seen through comes last, and the large around the small.
    drawn.sort((a, b) => Number(a.mesh.opacity < 1) - Number(b.mesh.opacity < 1) || a.size - b.size);
    this.nv.meshes = [...(this.mark === null ? [] : [this.mark]), ...drawn.map((d) => d.mesh)];
    this.nv.updateGLVolume();
  }
}

function background(): [number, number, number, number] {
  return matchMedia("(prefers-color-scheme: dark)").matches
    ? [0.055, 0.075, 0.088, 1]
    : [0.925, 0.94, 0.948, 1];
}

/** NiiVue has keys of its own, which nobody would find, and which take letters from screen readers. */
function listen(canvas: HTMLCanvasElement, view: SceneView): void {
  const turns: Record<string, () => void> = {
    ArrowLeft: () => view.rotate(-8, 0),
    ArrowRight: () => view.rotate(8, 0),
    ArrowUp: () => view.rotate(0, 8),
    ArrowDown: () => view.rotate(0, -8),
    "+": () => view.zoom(1.2),
    "=": () => view.zoom(1.2),
    "-": () => view.zoom(1 / 1.2),
    "0": () => view.zoom(0),
  };
  takeKeys(canvas, turns);
}

/** Do these for their keys, and let NiiVue hear of none. */
export function takeKeys(canvas: HTMLCanvasElement, keys: Record<string, () => void>): void {
  canvas.addEventListener("keyup", (event) => event.stopImmediatePropagation(), { capture: true });
  canvas.addEventListener(
    "keydown",
    (event) => {
      event.stopImmediatePropagation();
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const found = keys[event.key];
      if (found === undefined) return;
      event.preventDefault();
      found();
    },
    { capture: true },
  );
}

/** The box around a surface in mm³, and the middle of what its largest part encloses. */
export function measure({ points, triangles }: Omit<Surface, "name">): { size: number; centre: number[] } {
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < points.length; i++) {
    low[i % 3] = Math.min(low[i % 3]!, points[i]!);
    high[i % 3] = Math.max(high[i % 3]!, points[i]!);
  }
  const corner = (k: number): Vector => [points[3 * k]!, points[3 * k + 1]!, points[3 * k + 2]!];
  const part = parts(points.length / 3, triangles);
  /** By part: moments and volume, six times, of the tetrahedra to the origin. */
  const sums = new Map<number, [number, number, number, number]>();
  for (let t = 0; t < triangles.length; t += 3) {
    const [a, b, c] = [corner(triangles[t]!), corner(triangles[t + 1]!), corner(triangles[t + 2]!)];
    const normal = cross(b, c);
    const six = a[0] * normal[0] + a[1] * normal[1] + a[2] * normal[2];
    const sum = sums.get(part(triangles[t]!)) ?? [0, 0, 0, 0];
    sums.set(part(triangles[t]!), sum);
    for (let i = 0; i < 3; i++) sum[i]! += (six * (a[i]! + b[i]! + c[i]!)) / 4;
    sum[3] += six;
  }
  const largest = [...sums.values()].sort((a, b) => b[3] - a[3])[0];
  const [width, depth, height] = high.map((v, i) => v - low[i]!) as Vector;
  const enclosed = largest !== undefined && largest[3] > 0;
  const centre = enclosed
    ? largest.slice(0, 3).map((v) => v / largest[3])
    : high.map((v, i) => (v + low[i]!) / 2);
  return { size: width * depth * height, centre };
}

/** Which part each vertex is of, named by one of its vertices. */
function parts(count: number, triangles: Uint32Array): (vertex: number) => number {
  const parents = Int32Array.from({ length: count }, (_, i) => i);
  const root = (vertex: number): number => {
    let at = vertex;
    while (parents[at] !== at) at = parents[at] = parents[parents[at]!]!;
    return at;
  };
  for (let t = 0; t < triangles.length; t += 3)
    for (const k of [1, 2]) parents[root(triangles[t + k]!)] = root(triangles[t]!);
  return root;
}

type Vector = [number, number, number];

/** A tube with round ends from `start` to `stop`, closed, normals outward. */
export function capsule(
  start: number[],
  stop: number[],
  radius: number,
): { points: Float32Array; triangles: Uint32Array } {
  const [a, b] = [start as Vector, stop as Vector];
  const along = unit([b[0] - a[0], b[1] - a[1], b[2] - a[2]]);
  const side = unit(cross(along, Math.abs(along[2]) < 0.9 ? [0, 0, 1] : [1, 0, 0]));
  const other = cross(along, side);
  const [rings, spokes] = [8, 24];
  const points: number[] = [];
  for (let ring = 0; ring <= 2 * rings + 1; ring++) {
    // Half a ball around the start, then half a ball around the stop.
    const second = ring > rings;
    const angle = ((ring - Number(second)) / (2 * rings)) * Math.PI - Math.PI / 2;
    const centre = second ? b : a;
    for (let spoke = 0; spoke < spokes; spoke++) {
      const turn = (spoke / spokes) * 2 * Math.PI;
      const out = radius * Math.cos(angle);
      for (let i = 0; i < 3; i++)
        points.push(
          centre[i]! +
            radius * Math.sin(angle) * along[i]! +
            out * (Math.cos(turn) * side[i]! + Math.sin(turn) * other[i]!),
        );
    }
  }
  const triangles: number[] = [];
  for (let ring = 0; ring <= 2 * rings; ring++)
    for (let spoke = 0; spoke < spokes; spoke++) {
      const [p, q] = [ring * spokes + spoke, ring * spokes + ((spoke + 1) % spokes)];
      triangles.push(p, q, q + spokes, p, q + spokes, p + spokes);
    }
  return { points: Float32Array.from(points), triangles: Uint32Array.from(triangles) };
}

function cross(a: Vector, b: Vector): Vector {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

function unit(v: Vector): Vector {
  const length = Math.hypot(...v) || 1;
  return [v[0] / length, v[1] / length, v[2] / length];
}
