/** Choosing images that are in the data root already. */

import { files } from "../api";
import { h, icon, only, put } from "../dom";
import * as names from "../names";

export interface Chosen {
  path: string;
  bytes: number;
}

/** A dialog; gives what was chosen, nothing where it was closed. */
export function chooseFiles(): Promise<Chosen[]> {
  const chosen = new Map<string, Chosen>();
  const crumbs = h("nav", { class: "crumbs", "aria-label": "Folder" });
  const list = h("ul", { class: "folder" });
  const problem = h("p", { class: "problem", role: "alert" });
  const count = h("span", { class: "hint", "aria-live": "polite" });
  const take = h("button", { class: "primary", type: "submit", value: "take" }, "Use these");
  const dialog = h(
    "dialog",
    { class: "browser", "aria-labelledby": "browser-title" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "browser-title" }, "From the data root"),
      crumbs,
      problem,
      list,
      h("div", { class: "buttons" }, count, h("button", { type: "submit", value: "" }, "Close"), take),
    ),
  );
  const update = () => {
    take.disabled = chosen.size === 0;
    count.textContent = chosen.size === 0 ? "Nothing chosen" : `${chosen.size} chosen`;
  };
  const open = async (folder: string): Promise<void> => {
    only(crumbs, ...crumbsOf(folder, (to) => void open(to)));
    problem.textContent = "";
    list.setAttribute("aria-busy", "true");
    try {
      const page = await files(folder);
      const images = page.files.filter((f) => /\.nii(\.gz)?$/i.test(f.path));
      only(
        list,
        ...page.folders.map((f) => folderRow(f, (to) => void open(to))),
        ...images.map((f) => fileRow(f, chosen, update)),
      );
      if (page.folders.length + images.length === 0)
        put(list, h("li", { class: "hint" }, "There is no NIfTI file in this folder."));
    } catch (error) {
      only(list);
      problem.textContent = (error as Error).message;
    }
    list.removeAttribute("aria-busy");
  };
  update();
  document.body.append(dialog);
  dialog.showModal();
  void open("");
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "take" ? [...chosen.values()] : []);
      dialog.remove();
    }),
  );
}

function crumbsOf(folder: string, open: (folder: string) => void): HTMLElement[] {
  const parts = folder.split("/").filter(Boolean);
  const steps = [
    { name: "Data root", path: "" },
    ...parts.map((name, i) => ({ name, path: parts.slice(0, i + 1).join("/") })),
  ];
  return steps.map(({ name, path }, i) =>
    i === steps.length - 1
      ? h("span", { "aria-current": "location" }, name)
      : h("button", { class: "quiet", type: "button", onclick: () => open(path) }, name),
  );
}

function folderRow(path: string, open: (folder: string) => void): HTMLElement {
  const name = path.replace(/\/$/, "").split("/").pop() ?? path;
  return h(
    "li",
    {},
    h(
      "button",
      { class: "quiet row", type: "button", onclick: () => open(path.replace(/\/$/, "")) },
      icon("folder"),
      name,
    ),
  );
}

function fileRow(file: Chosen, chosen: Map<string, Chosen>, changed: () => void): HTMLElement {
  const name = file.path.split("/").pop() ?? file.path;
  const box = h("input", {
    type: "checkbox",
    onchange: () => {
      if (box.checked) chosen.set(file.path, { path: file.path, bytes: file.bytes });
      else chosen.delete(file.path);
      changed();
    },
  });
  box.checked = chosen.has(file.path);
  return h("li", {}, h("label", { class: "row" }, box, name, h("small", {}, names.size(file.bytes))));
}
