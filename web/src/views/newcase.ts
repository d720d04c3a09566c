/** A new case: images, their phases, what is wanted of them. */

import * as api from "../api";
import { h, icon, only, put, unique } from "../dom";
import { PHASES, type Labels, type Phase } from "../messages";
import * as names from "../names";
import { newFolder, safeName, upload } from "../upload";
import { chooseFiles } from "./browser";

/** One image of the case: on its way to the data root, or there. */
interface Image {
  path: string;
  name: string;
  bytes: number;
  phase: Phase | null;
  sent: number;
  state: "waiting" | "sending" | "there" | "failed";
  said: string;
  stop: AbortController;
  row: HTMLElement;
}

/** What a group is called in a request, and what it stands on. */
const WORDS: Record<string, { word: string; task: string; phases: Phase[] }> = {
  kidney: { word: "kidney", task: "tumor", phases: [] },
  tumor: { word: "tumor", task: "tumor", phases: [] },
  cyst: { word: "cyst", task: "tumor", phases: [] },
  artery: { word: "artery", task: "vessel", phases: ["A", "P"] },
  vein: { word: "vein", task: "vessel", phases: ["A", "P"] },
  urinary: { word: "ureter", task: "ureter", phases: ["D"] },
  fat: { word: "fat", task: "tumor", phases: [] },
  organ: { word: "organs", task: "totalseg", phases: [] },
  bone: { word: "bones", task: "totalseg", phases: [] },
  muscle: { word: "muscles", task: "totalseg", phases: [] },
};
const AT_FIRST = new Set(["kidney", "tumor", "cyst", "artery", "vein", "urinary"]);

export function newCase(root: HTMLElement, signal: AbortSignal): void {
  const form = new CaseForm(signal);
  put(root, form.element);
  void form.fill();
}

class CaseForm {
  readonly element: HTMLElement;
  private readonly images: Image[] = [];
  private readonly list = h("ul", { class: "images", "aria-label": "Images of this case" });
  private readonly groups = h("div", { class: "chips" });
  private readonly everything = h("input", {
    type: "radio",
    name: "wanted",
    id: "everything",
    checked: true,
  });
  private readonly chosen = h("input", { type: "radio", name: "wanted", id: "chosen" });
  private readonly fresh = h("input", { type: "checkbox", id: "fresh" });
  private readonly button = h("button", { class: "primary large", type: "submit" }, icon("play"), "Run");
  private readonly why = h("p", { class: "hint", id: "why-not", "aria-live": "polite" });
  private readonly problem = h("p", { class: "problem", role: "alert" });
  private readonly boxes = new Map<string, HTMLInputElement>();
  private readonly signal: AbortSignal;
  private offered: Set<string> = new Set();
  private readonly folder = newFolder();
  private sending = false;

  constructor(signal: AbortSignal) {
    this.signal = signal;
    const wantedChanged = () => this.update();
    this.everything.addEventListener("change", wantedChanged);
    this.chosen.addEventListener("change", wantedChanged);
    this.button.setAttribute("aria-describedby", "why-not");
    this.element = h(
      "form",
      { class: "new-case", onsubmit: (event: SubmitEvent) => void this.run(event) },
      h(
        "div",
        { class: "heading" },
        h("h1", {}, "New case"),
        h("p", { class: "lead" }, "One patient's CT phases in, masks and a named 3D scene out."),
      ),
      h(
        "section",
        { class: "card", "aria-labelledby": "step-images" },
        h("h2", { id: "step-images" }, "Images"),
        this.dropZone(),
        this.list,
      ),
      h(
        "section",
        { class: "card", "aria-labelledby": "step-structures" },
        h("h2", { id: "step-structures" }, "Structures"),
        h(
          "fieldset",
          { class: "wanted" },
          h("legend", { class: "visually-hidden" }, "What is wanted"),
          h("label", { for: "everything" }, this.everything, "Everything that the phases allow"),
          h("label", { for: "chosen" }, this.chosen, "Only these:"),
        ),
        this.groups,
        h("label", { class: "aside", for: "fresh" }, this.fresh, "Compute anew, even what is known already"),
      ),
      h("div", { class: "run" }, this.problem, this.button, this.why),
    );
  }

  /** What this installation can do. */
  async fill(): Promise<void> {
    try {
      const [labels, offered] = await Promise.all([api.labels(), api.offered()]);
      this.offered = offered;
      this.makeGroups(labels);
    } catch (error) {
      this.problem.textContent = (error as Error).message;
    }
    this.update();
  }

  private makeGroups(labels: Labels): void {
    const there = new Set(Object.values(labels).map((l) => l.group));
    const order = [
      ...Object.keys(names.GROUPS).filter((g) => there.has(g)),
      ...[...there].filter((g) => !(g in names.GROUPS)),
    ];
    for (const group of order) {
      const id = unique("group");
      const box = h("input", { type: "checkbox", id, onchange: () => this.update() });
      box.checked = AT_FIRST.has(group);
      this.boxes.set(group, box);
      put(
        this.groups,
        h(
          "label",
          { class: "chip", for: id },
          box,
          h("span", {}, names.group(group)),
          h("small", { class: "needs" }),
        ),
      );
    }
  }

  private dropZone(): HTMLElement {
    const input = h("input", {
      type: "file",
      id: "files",
      class: "visually-hidden",
      multiple: true,
      accept: ".nii,.gz",
      onchange: () => {
        this.add(input.files ?? []);
        input.value = "";
      },
    });
    const zone = h(
      "div",
      { class: "drop" },
      icon("upload"),
      h("p", {}, h("strong", {}, "Drop NIfTI files here"), h("br"), "one for each phase: .nii.gz or .nii"),
      h(
        "div",
        { class: "buttons" },
        input,
        h("label", { class: "button", for: "files" }, "Choose files"),
        h(
          "button",
          { type: "button", onclick: () => void this.choose() },
          icon("folder"),
          "From the data root",
        ),
      ),
    );
    const over = (on: boolean) => (event: DragEvent) => {
      event.preventDefault();
      zone.classList.toggle("over", on);
    };
    for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, over(true) as EventListener);
    zone.addEventListener("dragleave", over(false));
    zone.addEventListener("drop", (event) => {
      over(false)(event);
      this.add(event.dataTransfer?.files ?? []);
    });
    return zone;
  }

  private async choose(): Promise<void> {
    for (const { path, bytes } of await chooseFiles()) {
      const name = path.split("/").pop() ?? path;
      if (!this.images.some((i) => i.path === path))
        this.remember({ path, name, bytes, sent: bytes, state: "there" });
    }
    this.update();
  }

  private add(files: Iterable<File>): void {
    for (const file of files) {
      if (!/\.nii(\.gz)?$/i.test(file.name)) {
        this.problem.textContent = `${file.name} is not a NIfTI file (.nii or .nii.gz), so it was left out.`;
        continue;
      }
      const path = `${this.folder}/${this.freeName(safeName(file.name))}`;
      const image = this.remember({ path, name: file.name, bytes: file.size, sent: 0, state: "waiting" });
      void this.send(image, file);
    }
    this.update();
  }

  private freeName(name: string): string {
    let found = name;
    for (let n = 2; this.images.some((i) => i.path === `${this.folder}/${found}`); n++)
      found = name.replace(/(?=\.nii)/i, `-${n}`);
    return found;
  }

  private remember(given: Pick<Image, "path" | "name" | "bytes" | "sent" | "state">): Image {
    const taken = new Set(this.images.map((i) => i.phase));
    const guessed = names.phaseOf(given.name);
    const free = PHASES.filter((p) => !taken.has(p));
    const phase =
      guessed !== null && !taken.has(guessed) ? guessed : guessed === null ? (free[0] ?? null) : null;
    const image: Image = { ...given, phase, said: "", stop: new AbortController(), row: h("li") };
    this.signal.addEventListener("abort", () => image.stop.abort(this.signal.reason));
    this.images.push(image);
    put(this.list, image.row);
    this.draw(image);
    return image;
  }

  private async send(image: Image, file: File): Promise<void> {
    image.state = "sending";
    image.said = "";
    this.draw(image);
    try {
      await upload(file, image.path, (bytes) => this.progress(image, bytes), image.stop.signal);
      image.state = "there";
    } catch (error) {
      if (image.stop.signal.aborted) return;
      image.state = "failed";
      image.said = (error as Error).message;
    }
    this.draw(image, () => void this.send(image, file));
    this.update();
  }

  private progress(image: Image, bytes: number): void {
    image.sent = bytes;
    const bar = image.row.querySelector("progress");
    const text = image.row.querySelector(".sent");
    if (bar !== null) bar.value = image.bytes > 0 ? bytes / image.bytes : 1;
    if (text !== null) text.textContent = this.where(image);
  }

  private where(image: Image): string {
    if (image.state === "sending" || image.state === "waiting")
      return `${names.size(image.sent)} of ${names.size(image.bytes)}`;
    return names.size(image.bytes);
  }

  private draw(image: Image, again: () => void = () => undefined): void {
    const select = h("select", {
      "aria-label": `Phase of ${image.name}`,
      onchange: () => {
        image.phase = (select.value || null) as Phase | null;
        this.update();
      },
    });
    for (const phase of PHASES)
      put(select, h("option", { value: phase, selected: image.phase === phase }, names.PHASE[phase]));
    put(select, h("option", { value: "", selected: image.phase === null }, "Not used"));
    const remove = h(
      "button",
      {
        type: "button",
        class: "quiet only-icon",
        "aria-label": `Remove ${image.name}`,
        onclick: () => this.drop(image),
      },
      icon("cross"),
    );
    const state = { waiting: "Waiting", sending: "Uploading", there: "Ready", failed: "Failed" }[image.state];
    image.row.className = image.state;
    only(
      image.row,
      icon(image.state === "there" ? "check" : image.state === "failed" ? "alert" : "file"),
      h(
        "div",
        { class: "name" },
        h("span", { title: image.path }, image.name),
        h(
          "small",
          {},
          h("span", { class: "state" }, state),
          " · ",
          h("span", { class: "sent" }, this.where(image)),
        ),
      ),
      select,
      remove,
      (image.state === "sending" || image.state === "waiting") &&
        h("progress", {
          max: 1,
          value: image.bytes > 0 ? image.sent / image.bytes : 0,
          "aria-label": `Upload of ${image.name}`,
        }),
      image.said !== "" &&
        h(
          "p",
          { class: "problem", role: "alert" },
          image.said,
          " ",
          h("button", { type: "button", onclick: again }, "Try again"),
        ),
    );
  }

  private drop(image: Image): void {
    image.stop.abort(new DOMException("removed", "AbortError"));
    this.images.splice(this.images.indexOf(image), 1);
    image.row.remove();
    this.update();
  }

  /** The phases that are given. */
  private get phases(): Partial<Record<Phase, string>> {
    const used = this.images.filter((i) => i.phase !== null);
    return Object.fromEntries(
      PHASES.flatMap((p) => used.filter((i) => i.phase === p).map((i) => [p, i.path])),
    );
  }

  /** Why it cannot run yet; empty where it can. */
  private get missing(): string {
    const used = this.images.filter((i) => i.phase !== null);
    if (used.length === 0) return "Add at least one image first.";
    const twice = PHASES.find((p) => used.filter((i) => i.phase === p).length > 1);
    if (twice !== undefined)
      return `Two images are said to be ${names.PHASE[twice].toLowerCase()}: correct one of them.`;
    if (used.some((i) => i.state === "failed")) return "An upload has failed: try it again, or remove it.";
    if (used.some((i) => i.state !== "there")) return "The images are still on their way.";
    if (this.chosen.checked && this.wanted.length === 0) return "Choose at least one structure.";
    return "";
  }

  private get wanted(): string[] {
    return [...this.boxes]
      .filter(([, box]) => box.checked && !box.disabled)
      .map(([group]) => WORDS[group]?.word ?? group);
  }

  private update(): void {
    const there = new Set(Object.keys(this.phases));
    for (const [group, box] of this.boxes) {
      const { task, phases } = WORDS[group] ?? { task: "totalseg", phases: [] };
      const lacking = phases.filter((p) => !there.has(p)).map((p) => names.PHASE[p].toLowerCase());
      const reason =
        this.offered.size > 0 && !this.offered.has(`inference/${task}`)
          ? "no model"
          : lacking.length > 0
            ? `needs ${lacking.join(" and ")}`
            : "";
      box.disabled = !this.chosen.checked || reason !== "";
      box.parentElement?.classList.toggle("off", box.disabled);
      const said = box.parentElement?.querySelector(".needs");
      if (said) said.textContent = reason;
    }
    const missing = this.missing;
    this.why.textContent = missing;
    this.button.disabled = missing !== "" || this.sending;
  }

  private async run(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (this.missing !== "" || this.sending) return;
    this.sending = true;
    this.problem.textContent = "";
    this.update();
    try {
      const structures = this.chosen.checked ? { structures: this.wanted } : {};
      const made = await api.start({ phases: this.phases, ...structures }, this.fresh.checked);
      location.hash = `#/tickets/${made.ticket}`;
    } catch (error) {
      this.problem.textContent = (error as Error).message;
    } finally {
      this.sending = false;
      this.update();
    }
  }
}
