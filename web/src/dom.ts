/** Elements, made without ever parsing text as HTML. */

type Child = Node | string | number | null | undefined | false;
type Value = string | number | boolean | null | undefined | ((event: never) => void);

/**
 * An element: `h("button", { class: "quiet", onclick: run }, "Run")`.
 *
 * Members that begin with `on` listen, `true` is an attribute without a value, and `false`, `null`
 * and `undefined` are left out.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  put(made, ...children);
  return made;
}

/** Append what is there. */
export function put(parent: Element, ...children: Child[]): void {
  parent.append(
    ...children
      .filter((c): c is Node | string | number => c !== null && c !== undefined && c !== false)
      .map((c) => (typeof c === "number" ? String(c) : c)),
  );
}

/** Have these children and no others. */
export function only(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  put(parent, ...children);
}

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  check: "M4 10.5 8 14.5 16 5.5",
  cross: "M5 5 15 15M15 5 5 15",
  clock: "M10 5v5l3.5 2M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15",
  play: "M6 4.5v11l9-5.5z",
  dash: "M5 10h10",
  find: "M10 6a4 4 0 1 0 0 8 4 4 0 0 0 0-8M10 1.5v4M10 14.5v4M1.5 10h4M14.5 10h4",
  upload: "M10 14V4M5.5 8 10 3.5 14.5 8M3.5 16.5h13",
  folder: "M2.5 5.5h5l2 2h8v8.5h-15z",
  file: "M5 2.5h6.5L15 6v11.5H5zM11.5 2.5V6H15",
  save: "M10 3.5v9M5.5 8.5 10 13l4.5-4.5M3.5 16.5h13",
  alert: "M10 3 18 16.5H2zM10 8v4M10 14.2v.3",
} as const;
export type Icon = keyof typeof ICONS;

/** A picture that says nothing that is not also in the text beside it. */
export function icon(name: Icon): SVGElement {
  const made = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" }))
    made.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  made.append(path);
  return made;
}

let serial = 0;

/** An id that no other element has. */
export function unique(stem: string): string {
  serial += 1;
  return `${stem}-${serial}`;
}

/** Wait, unless it is not wanted any more. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    });
  });
}
