/** Results as files. */

import { zipSync } from "fflate";
import { download } from "../api";
import { h, icon, only, put } from "../dom";
import type { Answer } from "../messages";
import * as names from "../names";

interface Offer {
  title: string;
  about: string;
  file: string;
  paths: string[];
}

export class DownloadsPanel {
  readonly element: HTMLElement;
  private readonly list = h("ul", {});
  private readonly problem = h("p", { class: "problem", role: "alert" });
  private readonly signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.signal = signal;
    this.element = h(
      "section",
      { class: "panel downloads", "aria-labelledby": "downloads-title", hidden: true },
      h("h2", { id: "downloads-title" }, "Downloads"),
      this.problem,
      this.list,
    );
  }

  show(answer: Answer): void {
    const offers = offersOf(answer);
    this.element.hidden = offers.length === 0;
    only(this.list, ...offers.map((o) => h("li", {}, this.button(o))));
    const masks = Object.entries(answer.mask_paths ?? {}).filter(([, path]) => path !== answer.mask_path);
    if (masks.length === 0) return;
    const inner = h(
      "ul",
      {},
      ...masks.map(([step, path]) =>
        h(
          "li",
          {},
          this.button({ title: names.step(step), about: "NIfTI", file: `${step}.nii.gz`, paths: [path] }),
        ),
      ),
    );
    put(this.list, h("li", {}, h("details", {}, h("summary", {}, "Mask of each step"), inner)));
  }

  private button(offer: Offer): HTMLElement {
    const state = h("small", { "aria-live": "polite" }, offer.about);
    const button = h(
      "button",
      {
        type: "button",
        class: "download",
        onclick: async () => {
          button.disabled = true;
          this.problem.textContent = "";
          try {
            await this.fetch(offer, (fraction) => (state.textContent = names.percent(fraction)));
          } catch (error) {
            if (!this.signal.aborted) this.problem.textContent = (error as Error).message;
          }
          state.textContent = offer.about;
          button.disabled = false;
        },
      },
      icon("save"),
      h("span", {}, offer.title),
      state,
    );
    return button;
  }

  private async fetch(offer: Offer, progress: (fraction: number) => void): Promise<void> {
    const parts: Record<string, Uint8Array<ArrayBuffer>> = {};
    for (const [i, path] of offer.paths.entries())
      parts[path.split("/").pop()!] = await download(path, this.signal, (f) =>
        progress((i + f) / offer.paths.length),
      );
    const [first] = Object.values(parts);
    save(
      offer.paths.length > 1 ? (zipSync(parts, { level: 1 }) as Uint8Array<ArrayBuffer>) : first!,
      offer.file,
    );
  }
}

function offersOf(answer: Answer): Offer[] {
  const short = answer.ticket.slice(0, 8);
  const made: (Offer | false)[] = [
    Boolean(answer.glb_path) && {
      title: "3D scene",
      about: "GLB",
      file: `nephra-${short}.glb`,
      paths: [answer.glb_path!],
    },
    Boolean(answer.obj_path) && {
      title: "Surfaces with colours",
      about: "OBJ and MTL, zip",
      file: `nephra-${short}.zip`,
      paths: [answer.obj_path!, answer.mtl_path ?? ""].filter(Boolean),
    },
    Boolean(answer.mask_path) && {
      title: "Mask",
      about: "NIfTI",
      file: `nephra-${short}.nii.gz`,
      paths: [answer.mask_path!],
    },
    Boolean(answer.labels_path) && {
      title: "Label table",
      about: "JSON",
      file: `nephra-${short}.labels.json`,
      paths: [answer.labels_path!],
    },
    Boolean(answer.manifest_path) && {
      title: "Manifest: how it was made",
      about: "JSON",
      file: `nephra-${short}.manifest.json`,
      paths: [answer.manifest_path!],
    },
  ];
  return made
    .filter((o): o is Offer => o !== false)
    .map((o) =>
      o.paths.length === 1 && o.about.includes("zip")
        ? { ...o, about: "OBJ", file: o.file.replace(/zip$/, "obj") }
        : o,
    );
}

function save(bytes: Uint8Array<ArrayBuffer>, name: string): void {
  const url = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  const link = h("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
