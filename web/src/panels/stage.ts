/** The two pictures, 3D and slices, and what moves them. */

import { h, only, put } from "../dom";
import type { Look } from "../look";
import { PHASES, type Phase } from "../messages";
import * as names from "../names";
import type { SceneView } from "../scene";
import type { SliceView, Window } from "../slices";

const LAYOUTS = { both: "Both", scene: "3D", slices: "Slices" } as const;
const AXES = [
  { name: "Sagittal", axis: 0 },
  { name: "Coronal", axis: 1 },
  { name: "Axial", axis: 2 },
] as const;

export class StagePanel {
  readonly element: HTMLElement;
  scene: SceneView | null = null;
  slices: SliceView | null = null;
  private readonly sceneCanvas = h("canvas", {
    tabindex: 0,
    role: "img",
    "aria-label": "3D scene. Arrow keys turn it, plus and minus zoom, 0 shows all.",
  });
  private readonly sliceCanvas = h("canvas", {
    tabindex: 0,
    role: "img",
    "aria-label": "Slices of the image with the masks. Arrow keys and page keys move the cross.",
  });
  private readonly note = h("p", { class: "note", role: "status" });
  private readonly sliceNote = h(
    "p",
    { class: "note", role: "status" },
    "The slices come with the first image.",
  );
  private readonly phase = h("select", { id: "phase" });
  private readonly sliders = h("div", { class: "sliders" });
  private readonly sliceTools = h("div", {
    class: "tools",
    role: "group",
    "aria-label": "Slices",
    hidden: true,
  });
  private readonly sceneTools = h("div", {
    class: "tools",
    role: "group",
    "aria-label": "View of the 3D scene",
    hidden: true,
  });

  constructor() {
    const layout = h("div", { class: "segmented", role: "radiogroup", "aria-label": "What is shown" });
    this.element = h("div", { class: "stage", "data-layout": "both" });
    for (const [key, text] of Object.entries(LAYOUTS)) {
      const radio = h("input", {
        type: "radio",
        name: "layout",
        id: `layout-${key}`,
        value: key,
        onchange: () => (this.element.dataset["layout"] = key),
      });
      radio.checked = key === "both";
      put(layout, radio, h("label", { for: `layout-${key}` }, text));
    }
    put(
      this.element,
      layout,
      h(
        "section",
        { class: "view scene", "aria-label": "3D scene" },
        h("div", { class: "canvas" }, this.sceneCanvas, this.note),
        this.sceneTools,
      ),
      h(
        "section",
        { class: "view slices", "aria-label": "Slices" },
        h("div", { class: "canvas" }, this.sliceCanvas, this.sliceNote),
        this.sliceTools,
      ),
    );
  }

  /**
   * Begin to draw; the drawing library comes only now.
   *
   * Where the browser cannot, it says so, and everything else goes on.
   */
  async open(look: Look): Promise<void> {
    try {
      const [{ SceneView, SIDES }, { SliceView, WINDOWS }] = await Promise.all([
        import("../scene"),
        import("../slices"),
      ]);
      this.scene = await SceneView.on(this.sceneCanvas, look);
      this.slices = await SliceView.on(this.sliceCanvas, look);
      this.addSceneTools(this.scene, Object.keys(SIDES) as (keyof typeof SIDES)[]);
      this.addSliceTools(this.slices, Object.keys(WINDOWS) as Window[]);
    } catch (error) {
      console.warn(error);
      this.note.textContent =
        "This browser cannot draw in 3D (WebGL 2 is missing or switched off). Results can be downloaded all the same.";
      this.sliceNote.textContent = "";
    }
  }

  close(): void {
    this.scene?.close();
    this.slices?.close();
  }

  say(text: string): void {
    this.note.textContent = text;
  }

  sayOfSlices(text: string): void {
    this.sliceNote.textContent = text;
  }

  /** Offer the phases as background; `choose` shows another one. */
  phases(given: Partial<Record<Phase, string>>, now: Phase, choose: (phase: Phase) => void): void {
    only(
      this.phase,
      ...PHASES.filter((p) => given[p]).map((p) =>
        h("option", { value: p, selected: p === now }, names.PHASE[p]),
      ),
    );
    this.phase.addEventListener("change", () => choose(this.phase.value as Phase));
  }

  private addSceneTools(scene: SceneView, sides: Parameters<SceneView["turn"]>[0][]): void {
    this.sceneTools.hidden = false;
    for (const side of sides)
      put(this.sceneTools, h("button", { type: "button", onclick: () => scene.turn(side) }, side));
    const zoom = (label: string, text: string, factor: number) =>
      h("button", { type: "button", "aria-label": label, onclick: () => scene.zoom(factor) }, text);
    put(
      this.sceneTools,
      h("span", { class: "gap" }),
      zoom("Zoom out", "−", 1 / 1.25),
      zoom("Zoom in", "+", 1.25),
      h("button", { type: "button", title: "Show all", onclick: () => scene.zoom(0) }, "Fit"),
    );
  }

  private addSliceTools(slices: SliceView, windows: Window[]): void {
    const window = h(
      "select",
      { id: "window", onchange: () => slices.setWindow(window.value as Window) },
      ...windows.map((w) => h("option", { value: w }, w)),
    );
    const plane = h(
      "select",
      { id: "plane", onchange: () => slices.setPlane(plane.value as "All") },
      ...["All", "Axial", "Coronal", "Sagittal"].map((p) => h("option", { value: p }, p)),
    );
    const overlay = h("input", {
      type: "range",
      id: "overlay",
      min: 0,
      max: 100,
      step: 5,
      value: 50,
      oninput: () => slices.setOverlay(Number(overlay.value) / 100),
    });
    const labelled = (text: string, control: HTMLElement) =>
      h("label", { for: control.id }, h("span", {}, text), control);
    put(
      this.sliceTools,
      labelled("Image", this.phase),
      labelled("Window", window),
      labelled("Plane", plane),
      labelled("Masks", overlay),
      this.sliders,
    );
    const ranges = AXES.map(({ name, axis }) => {
      const range = h("input", {
        type: "range",
        id: `slice-${axis}`,
        min: 0,
        max: 0,
        value: 0,
        oninput: () => slices.setSlice(axis, Number(range.value)),
      });
      put(this.sliders, labelled(name, range));
      return range;
    });
    slices.addEventListener("moved", () => {
      this.sliceTools.hidden = !slices.ready;
      for (const [axis, range] of ranges.entries()) {
        range.max = String(slices.slices(axis) - 1);
        range.value = String(slices.slice(axis));
      }
    });
  }
}
