/** The list of structures: on and off, how opaque, how large. */

import { h, icon, only, put } from "../dom";
import type { Look } from "../look";
import * as names from "../names";

const ORDER = Object.keys(names.GROUPS);

export class StructuresPanel {
  readonly element: HTMLElement;
  private readonly body = h("div", { class: "groups" });
  private readonly sum = h("span", { class: "hint" });
  private readonly look: Look;
  private readonly find: (name: string) => void;
  private shown: string[] = [];
  private volumes: Record<string, number> = {};
  private readonly boxes = new Map<string, HTMLInputElement>();
  private readonly heads = new Map<string, HTMLInputElement>();

  /** @param find shows a structure's middle in the slices. */
  constructor(look: Look, find: (name: string) => void) {
    this.look = look;
    this.find = find;
    const all = (visible: boolean) => () => look.change(this.shown, { visible });
    this.element = h(
      "section",
      { class: "panel structures", "aria-labelledby": "structures-title", hidden: true },
      h(
        "div",
        { class: "row" },
        h("h2", { id: "structures-title" }, "Structures"),
        this.sum,
        h("button", { type: "button", class: "quiet", onclick: all(true) }, "All"),
        h("button", { type: "button", class: "quiet", onclick: all(false) }, "None"),
      ),
      this.body,
    );
    look.addEventListener("change", () => this.sync());
  }

  /** List these, with what is known of their volumes in mL. */
  show(structures: Iterable<string>, volumes: Record<string, number>): void {
    const listed = [...new Set(structures)].sort(
      (a, b) =>
        rank(this.look.group(a)) - rank(this.look.group(b)) ||
        names.structure(a).localeCompare(names.structure(b)),
    );
    const same =
      listed.join() === this.shown.join() && JSON.stringify(volumes) === JSON.stringify(this.volumes);
    if (same) return;
    const focused = document.activeElement?.id ?? "";
    this.shown = listed;
    this.volumes = volumes;
    this.boxes.clear();
    this.heads.clear();
    const groups = [...new Set(listed.map((name) => this.look.group(name)))];
    only(
      this.body,
      ...groups.map((group) =>
        this.group(
          group,
          listed.filter((n) => this.look.group(n) === group),
        ),
      ),
    );
    this.element.hidden = listed.length === 0;
    this.sum.textContent = `${listed.length}`;
    this.sync();
    if (focused !== "" && this.body.querySelector(`#${CSS.escape(focused)}`) !== null)
      document.getElementById(focused)?.focus();
  }

  private group(group: string, members: string[]): HTMLElement {
    const rows = members.map((name) => this.row(name));
    if (members.length === 1) return h("ul", {}, ...rows);
    const id = `group-${group}`;
    const box = h("input", {
      type: "checkbox",
      id,
      onchange: () => this.look.change(members, { visible: box.checked }),
    });
    this.heads.set(group, box);
    const known = members.flatMap((n) => this.volumes[n] ?? []);
    const sum = known.length > 1 ? names.millilitres(known.reduce((a, b) => a + b, 0)) : "";
    return h(
      "fieldset",
      {},
      h("legend", { class: "visually-hidden" }, names.group(group)),
      h(
        "div",
        { class: "structure head" },
        box,
        h("label", { for: id }, names.group(group)),
        h("span", { class: "volume" }, sum),
      ),
      h("ul", {}, ...rows),
    );
  }

  private row(name: string): HTMLElement {
    const title = names.structure(name);
    const id = `structure-${name}`;
    const box = h("input", {
      type: "checkbox",
      id,
      onchange: () => this.look.change([name], { visible: box.checked }),
    });
    this.boxes.set(name, box);
    const style = this.look.style(name);
    const slider = h("input", {
      type: "range",
      id: `opacity-${name}`,
      min: 0,
      max: 100,
      step: 5,
      value: Math.round(style.opacity * 100),
      "aria-label": `Opacity of ${title}, percent`,
      title: "Opacity",
      oninput: () =>
        this.look.change([name], {
          opacity: Number(slider.value) / 100,
          ...(Number(slider.value) > 0 ? { visible: true } : {}),
        }),
    });
    const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.setProperty("--colour", `rgb(${this.look.colour(name).join(" ")})`);
    const volume = this.volumes[name];
    const row = h(
      "li",
      { class: "structure" },
      box,
      h("label", { for: id }, swatch, title),
      h("span", { class: "volume" }, volume === undefined ? "" : names.millilitres(volume)),
      slider,
      h(
        "button",
        {
          type: "button",
          class: "quiet only-icon",
          "aria-label": `Show ${title} in the slices`,
          title: "Show in the slices",
          onclick: () => this.find(name),
        },
        icon("find"),
      ),
    );
    put(row);
    return row;
  }

  private sync(): void {
    for (const [name, box] of this.boxes) box.checked = this.look.style(name).visible;
    for (const [group, head] of this.heads) {
      const states = this.shown
        .filter((n) => this.look.group(n) === group)
        .map((n) => this.look.style(n).visible);
      head.checked = states.every(Boolean);
      head.indeterminate = !head.checked && states.some(Boolean);
    }
  }
}

function rank(group: string): number {
  const at = ORDER.indexOf(group);
  return at < 0 ? ORDER.length : at;
}
