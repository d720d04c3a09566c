/** The slices: an image in three planes, with masks over it, drawn by NiiVue. */

import { DRAG_MODE, MULTIPLANAR_TYPE, Niivue, NVImage, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";
import type { Look } from "./look";
import { takeKeys } from "./scene";

/** Lowest and highest Hounsfield unit shown. */
export const WINDOWS = {
  "Soft tissue": [-160, 240],
  Vessels: [-100, 500],
  Bones: [-450, 1050],
  Lungs: [-1350, 150],
} as const;
export type Window = keyof typeof WINDOWS;
/** NIFTI_INTENT_LABEL */
const LABELS = 1002;
type Voxels = Uint8Array | Uint16Array | Int16Array;
export const PLANES = ["Sagittal", "Coronal", "Axial"] as const;

export class SliceView extends EventTarget {
  private image: NVImage | null = null;
  /** By key, with the labels as they came; what is drawn lacks those that are switched off. */
  private readonly masks = new Map<string, { volume: NVImage; voxels: Voxels }>();
  private hidden = "";
  private waiting = 0;
  /** Whether somebody has chosen where to look. */
  private touched = false;
  private window: Window = "Soft tissue";
  private overlay = 0.5;
  private readonly nv: Niivue;
  private readonly look: Look;

  private constructor(nv: Niivue, look: Look) {
    super();
    this.nv = nv;
    this.look = look;
    look.addEventListener("change", () => this.later());
  }

  /** @throws Error where the browser has no WebGL 2. */
  static async on(canvas: HTMLCanvasElement, look: Look): Promise<SliceView> {
    const nv = new Niivue({
      sliceType: SLICE_TYPE.MULTIPLANAR,
      multiplanarShowRender: SHOW_RENDER.NEVER,
      multiplanarLayout: MULTIPLANAR_TYPE.AUTO,
      multiplanarEqualSize: true,
      isRadiologicalConvention: true,
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.35, 0.85, 0.9, 0.9],
      crosshairWidth: 1.6,
      crosshairWidthUnit: "mm",
      crosshairGap: 6,
      fontColor: [0.75, 0.8, 0.82, 1],
      fontMinPx: 11,
      fontSizeScaling: 0.3,
      loadingText: "",
      logLevel: "error",
      dragAndDropEnabled: false,
      dragMode: DRAG_MODE.pan,
    });
    await nv.attachToCanvas(canvas, true);
    nv.setInterpolation(false);
    const view = new SliceView(nv, look);
    nv.onLocationChange = () => view.dispatchEvent(new Event("moved"));
    for (const name of ["pointerdown", "keydown", "wheel"])
      canvas.addEventListener(name, () => (view.touched = true), { capture: true, passive: true });
    takeKeys(canvas, {
      ArrowLeft: () => view.step(0, -1),
      ArrowRight: () => view.step(0, 1),
      ArrowUp: () => view.step(1, 1),
      ArrowDown: () => view.step(1, -1),
      PageUp: () => view.step(2, 1),
      PageDown: () => view.step(2, -1),
    });
    return view;
  }

  /** Show an image, in place of the one before. */
  async showImage(bytes: Uint8Array<ArrayBuffer>, name: string): Promise<void> {
    const [low, high] = WINDOWS[this.window];
    const image = await read(bytes, name, { colormap: "gray", opacity: 1, cal_min: low, cal_max: high });
    const masks = [...this.masks.values()].map((m) => m.volume);
    for (const volume of [...masks, ...(this.image === null ? [] : [this.image])])
      this.nv.removeVolume(volume);
    this.image = image;
    for (const volume of [image, ...masks]) this.nv.addVolume(volume);
    this.dispatchEvent(new Event("moved"));
  }

  /** Lay a mask over the image; `alone`: instead of all others. */
  async showMask(bytes: Uint8Array<ArrayBuffer>, key: string, alone: boolean): Promise<void> {
    const volume = await read(bytes, `${key}.nii.gz`, { colormap: "gray", opacity: this.overlay });
    // By this number NiiVue knows labels from intensities.
    volume.hdr!.intent_code = LABELS;
    volume.setColormapLabel(this.colours());
    for (const name of alone ? [...this.masks.keys()] : [key]) this.drop(name);
    const mask = { volume, voxels: volume.img as Voxels };
    this.masks.set(key, mask);
    volume.img = visible(mask.voxels, this.off());
    if (this.image !== null) this.nv.addVolume(volume);
  }

  private drop(key: string): void {
    const found = this.masks.get(key);
    if (found === undefined) return;
    this.masks.delete(key);
    if (this.image !== null) this.nv.removeVolume(found.volume);
  }

  get ready(): boolean {
    return this.image !== null;
  }

  setWindow(name: Window): void {
    this.window = name;
    if (this.image === null) return;
    [this.image.cal_min, this.image.cal_max] = WINDOWS[name];
    this.nv.updateGLVolume();
  }

  /** How much of the image the masks cover, 0 to 1. */
  setOverlay(opacity: number): void {
    this.overlay = opacity;
    for (const { volume } of this.masks.values()) volume.opacity = opacity;
    this.later(true);
  }

  setPlane(plane: (typeof PLANES)[number] | "All"): void {
    const types = {
      Sagittal: SLICE_TYPE.SAGITTAL,
      Coronal: SLICE_TYPE.CORONAL,
      Axial: SLICE_TYPE.AXIAL,
      All: SLICE_TYPE.MULTIPLANAR,
    };
    this.nv.setSliceType(types[plane]);
  }

  /** Go to a place in RAS+ mm, unless somebody has already gone elsewhere. */
  begin(mm: number[]): void {
    if (this.touched || this.image === null) return;
    const inside = [...this.nv.mm2frac([mm[0]!, mm[1]!, mm[2]!])].every((part) => part >= 0 && part <= 1);
    if (inside) this.goTo(mm);
  }

  /** Go to a place in RAS+ mm. */
  goTo(mm: number[]): void {
    if (this.image === null) return;
    this.nv.scene.crosshairPos = this.nv.mm2frac([mm[0]!, mm[1]!, mm[2]!]);
    this.nv.drawScene();
    this.dispatchEvent(new Event("moved"));
  }

  /** Along an axis (0 to the left, 1 to the front, 2 up), by slices. */
  step(axis: number, by: number): void {
    this.setSlice(axis, this.slice(axis) + by);
  }

  /** How many slices there are along an axis. */
  slices(axis: number): number {
    return this.image?.dimsRAS?.[axis + 1] ?? 1;
  }

  slice(axis: number): number {
    return Math.round((this.nv.scene.crosshairPos[axis] ?? 0.5) * this.slices(axis) - 0.5);
  }

  setSlice(axis: number, to: number): void {
    this.touched = true;
    if (this.image === null) return;
    const count = this.slices(axis);
    const at = this.nv.scene.crosshairPos;
    at[axis] = (Math.max(0, Math.min(count - 1, to)) + 0.5) / count;
    this.nv.scene.crosshairPos = at;
    this.nv.drawScene();
    this.dispatchEvent(new Event("moved"));
  }

  close(): void {
    this.nv.cleanup();
    this.nv.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  /** Draw the masks anew, once for all that changes until then. */
  private later(always = false): void {
    const off = this.off();
    const hidden = [...off].join();
    if (!always && hidden === this.hidden) return;
    if (hidden !== this.hidden)
      for (const mask of this.masks.values()) mask.volume.img = visible(mask.voxels, off);
    this.hidden = hidden;
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => {
      if (this.image === null) return;
      // The image itself, the largest part, stays on the graphics card as it is.
      for (const [i, volume] of this.nv.volumes.entries()) if (i > 0) this.nv.refreshLayers(volume, i);
      this.nv.drawScene();
    });
  }

  /** Numbers of the labels that are switched off. */
  private off(): Set<number> {
    const off = this.look.names.filter((name) => !this.look.style(name).visible);
    return new Set(off.map((name) => this.look.number(name)!));
  }

  private colours(): { R: number[]; G: number[]; B: number[]; A: number[]; I: number[]; labels: string[] } {
    const made = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    for (const name of this.look.names) {
      const [r, g, b] = this.look.colour(name);
      made.R.push(r);
      made.G.push(g);
      made.B.push(b);
      made.A.push(255);
      made.I.push(this.look.number(name)!);
      made.labels.push(name);
    }
    return made;
  }
}

/** Labels without those that are switched off. */
function visible(voxels: Voxels, off: Set<number>): Voxels {
  if (off.size === 0) return voxels;
  const shown = Uint16Array.from({ length: 2 ** 16 }, (_, label) => (off.has(label) ? 0 : label));
  const made = voxels.slice();
  for (let i = 0; i < made.length; i++) made[i] = shown[made[i]!]!;
  return made;
}

function read(bytes: Uint8Array<ArrayBuffer>, name: string, options: object): Promise<NVImage> {
  const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  const file = new File([bytes], name.replace(/(\.nii)?(\.gz)?$/i, packed ? ".nii.gz" : ".nii"));
  return NVImage.loadFromFile({ file, name: file.name, ...options });
}
