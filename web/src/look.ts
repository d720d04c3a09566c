/** How structures are drawn: colour, whether at all, how opaque. Views and lists share one. */

import type { Labels } from "./messages";

export interface Style {
  visible: boolean;
  opacity: number;
}

/** What lies around that which matters is seen through more than the table says. */
const SEEN_THROUGH: Record<string, number> = { kidney: 0.5, organ: 0.3 };

export class Look extends EventTarget {
  private readonly styles = new Map<string, Style>();
  private readonly table: Labels;

  constructor(table: Labels) {
    super();
    this.table = table;
  }

  /** Red, green, blue of 0 to 255. */
  colour(name: string): [number, number, number] {
    const [r, g, b] = this.table[name]?.rgba ?? [0.7, 0.7, 0.7];
    return [Math.round(r * 255), Math.round(g * 255), Math.round(b * 255)];
  }

  group(name: string): string {
    return this.table[name]?.group ?? "other";
  }

  number(name: string): number | undefined {
    return this.table[name]?.number;
  }

  get names(): string[] {
    return Object.keys(this.table);
  }

  style(name: string): Style {
    const found = this.styles.get(name);
    if (found !== undefined) return found;
    const opacity = Math.min(this.table[name]?.rgba[3] ?? 1, SEEN_THROUGH[this.group(name)] ?? 1);
    // Fat lies around everything: it is there to be switched on.
    return { visible: this.group(name) !== "fat", opacity };
  }

  change(names: Iterable<string>, change: Partial<Style>): void {
    for (const name of names) this.styles.set(name, { ...this.style(name), ...change });
    this.dispatchEvent(new Event("change"));
  }
}
