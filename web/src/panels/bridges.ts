/** What was joined by reasoning and not by the images: to be looked at, one by one. */

import { h, only } from "../dom";
import type { Answer, Bridge } from "../messages";
import * as names from "../names";

/** The bridges that an answer's reports list, whatever step made them. */
export function bridgesOf(answer: Answer): Bridge[] {
  const report = answer.report ?? {};
  const reports = Array.isArray(report["bridges"]) ? [report] : Object.values(report);
  return reports.flatMap((r) => {
    const listed = (r as { bridges?: unknown } | null)?.bridges;
    return Array.isArray(listed) ? (listed as Bridge[]).filter((b) => Array.isArray(b.ends_mm)) : [];
  });
}

export class BridgesPanel {
  readonly element: HTMLElement;
  private readonly list = h("ul", {});
  private readonly choose: (bridge: Bridge | null) => void;
  private shown: Bridge[] = [];

  /** @param choose is told which one is to be highlighted, or null. */
  constructor(choose: (bridge: Bridge | null) => void) {
    this.choose = choose;
    this.element = h(
      "section",
      { class: "panel bridges", "aria-labelledby": "bridges-title", hidden: true },
      h("h2", { id: "bridges-title" }, "Bridges"),
      h(
        "p",
        { class: "hint" },
        "Gaps that were closed between severed pieces. The images do not show these parts: check them.",
      ),
      this.list,
    );
  }

  show(bridges: Bridge[]): void {
    if (JSON.stringify(bridges) === JSON.stringify(this.shown)) return;
    this.shown = bridges;
    this.element.hidden = bridges.length === 0;
    only(this.list, ...bridges.map((bridge) => h("li", {}, this.button(bridge))));
  }

  private button(bridge: Bridge): HTMLElement {
    const sure =
      bridge.plausibility === undefined ? "" : `, plausibility ${Math.floor(bridge.plausibility * 100)} %`;
    const button = h(
      "button",
      {
        type: "button",
        class: "bridge",
        "aria-pressed": "false",
        onclick: () => {
          const on = button.getAttribute("aria-pressed") !== "true";
          for (const other of this.list.querySelectorAll("button"))
            other.setAttribute("aria-pressed", "false");
          button.setAttribute("aria-pressed", String(on));
          this.choose(on ? bridge : null);
        },
      },
      h("strong", {}, names.structure(bridge.structure)),
      h("small", {}, `${bridge.length_mm.toFixed(0)} mm long${sure}`),
    );
    return button;
  }
}
