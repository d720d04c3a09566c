/** What was asked for before, and what the cache saved. */

import * as api from "../api";
import { h, icon, only, pause, put, type Icon } from "../dom";
import { ENDED, type State, type Ticket } from "../messages";
import * as names from "../names";

const ICONS: Record<State, Icon> = {
  queued: "clock",
  running: "play",
  succeeded: "check",
  failed: "alert",
  cancelled: "cross",
};
const FILTERS: Record<string, State[]> = {
  All: [],
  "Under way": ["queued", "running"],
  Finished: ["succeeded"],
  "Failed or cancelled": ["failed", "cancelled"],
};
const PHASE_WORD = { A: "arterial", P: "portal-venous", D: "delayed" } as const;

export function history(root: HTMLElement, signal: AbortSignal): void {
  new History(root, signal);
}

class History {
  private readonly rows = h("tbody");
  private readonly problem = h("p", { class: "problem", role: "alert" });
  private readonly more = h(
    "button",
    { type: "button", hidden: true, onclick: () => void this.next() },
    "Show more",
  );
  private readonly filter = h("select", { id: "filter", onchange: () => void this.load() });
  private readonly numbers = h("dl", { class: "numbers" });
  private readonly signal: AbortSignal;
  private cursor: string | null = null;
  private shown: Ticket[] = [];
  private further = false;

  constructor(root: HTMLElement, signal: AbortSignal) {
    this.signal = signal;
    for (const name of Object.keys(FILTERS)) put(this.filter, h("option", { value: name }, name));
    const head = h(
      "tr",
      {},
      ...["State", "What", "Asked", "Took"].map((t) => h("th", { scope: "col" }, t)),
      h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Actions")),
    );
    put(
      root,
      h(
        "div",
        { class: "heading row" },
        h("h1", {}, "History"),
        h("label", { for: "filter" }, "Show ", this.filter),
      ),
      this.problem,
      h(
        "div",
        { class: "card table" },
        h(
          "table",
          {},
          h("caption", { class: "visually-hidden" }, "Tickets, the newest first"),
          h("thead", {}, head),
          this.rows,
        ),
      ),
      this.more,
      h(
        "section",
        { class: "card", "aria-labelledby": "cache-title" },
        h("h2", { id: "cache-title" }, "Computed once"),
        h(
          "p",
          { class: "hint" },
          "Results are found again by their content: the same images and parameters are never computed twice while they are kept.",
        ),
        this.numbers,
      ),
    );
    void this.load();
    void this.watch();
  }

  private async load(): Promise<void> {
    try {
      const page = await api.tickets(FILTERS[this.filter.value] ?? [], null, this.signal);
      this.shown = page.tickets;
      this.cursor = page.next ?? null;
      this.further = false;
      this.draw();
      this.count(await api.cacheNumbers(this.signal));
    } catch (error) {
      this.say(error);
    }
  }

  private async next(): Promise<void> {
    try {
      const page = await api.tickets(FILTERS[this.filter.value] ?? [], this.cursor, this.signal);
      this.shown.push(...page.tickets);
      this.cursor = page.next ?? null;
      this.further = true;
      this.draw();
    } catch (error) {
      this.say(error);
    }
  }

  /** What is under way changes; rows that are there are drawn anew only then. */
  private async watch(): Promise<void> {
    try {
      for (;;) {
        await pause(2500, this.signal);
        const waiting = this.shown.some((t) => !ENDED.has(t.state));
        if (!document.hidden && waiting && !this.further && !this.rows.contains(document.activeElement))
          await this.load();
      }
    } catch {
      // Another view.
    }
  }

  private draw(): void {
    this.problem.textContent = "";
    this.more.hidden = this.cursor === null;
    if (this.shown.length === 0) {
      only(this.rows, h("tr", {}, h("td", { colspan: 5, class: "hint" }, "There is nothing here yet.")));
      return;
    }
    only(this.rows, ...this.shown.map((t) => this.row(t)));
  }

  private row(ticket: Ticket): HTMLElement {
    const running =
      ticket.state === "running" && typeof ticket.fraction === "number"
        ? ` ${names.percent(ticket.fraction)}`
        : "";
    const before = ticket.position ? `, ${ticket.position} before it` : "";
    const what = describe(ticket);
    const phases = Object.keys(ticket.request?.phases ?? {}) as (keyof typeof PHASE_WORD)[];
    const about = phases.map((p) => PHASE_WORD[p]).join(", ");
    const seconds = took(ticket);
    return h(
      "tr",
      {},
      h(
        "td",
        {},
        h(
          "span",
          { class: `badge ${ticket.state}` },
          icon(ICONS[ticket.state]),
          names.STATE[ticket.state] + running + before,
        ),
      ),
      h(
        "th",
        { scope: "row" },
        h("a", { href: `#/tickets/${ticket.ticket}` }, what),
        h("small", {}, about, about && " · ", h("code", {}, ticket.ticket.slice(0, 8))),
      ),
      h("td", {}, names.moment(ticket.created)),
      h("td", {}, ticket.cached ? "from the cache" : seconds === null ? "" : names.duration(seconds)),
      h(
        "td",
        { class: "actions" },
        ENDED.has(ticket.state)
          ? ticket.state !== "succeeded" &&
              this.action("Try again", ticket, async () => {
                const made = await api.retry(ticket.ticket);
                location.hash = `#/tickets/${made.ticket}`;
              })
          : this.action("Cancel", ticket, async () => {
              await api.cancel(ticket.ticket);
              await this.load();
            }),
      ),
    );
  }

  private action(text: string, ticket: Ticket, act: () => Promise<void>): HTMLElement {
    const button = h(
      "button",
      {
        type: "button",
        "aria-label": `${text}: ${describe(ticket)}, ${ticket.ticket.slice(0, 8)}`,
        onclick: async () => {
          button.disabled = true;
          await act().catch((error: unknown) => this.say(error));
          button.disabled = false;
        },
      },
      text,
    );
    return button;
  }

  private count(cache: Awaited<ReturnType<typeof api.cacheNumbers>>): void {
    const asked = cache.hits + cache.misses;
    const pairs: [string, string, string][] = [
      [
        "Found again",
        asked > 0 ? `${Math.round((100 * cache.hits) / asked)} %` : "–",
        `${cache.hits.toLocaleString("en")} of ${asked.toLocaleString("en")} steps`,
      ],
      ["Time saved", names.duration(cache.seconds_saved), "since the gateway started"],
      ["Kept", cache.entries.toLocaleString("en"), "results"],
      ["Space", names.size(cache.bytes), `of ${names.size(cache.max_bytes)}`],
      ["Forgotten after", names.duration(cache.unused_s), "without use"],
    ];
    only(
      this.numbers,
      ...pairs.map(([what, value, more]) =>
        h("div", {}, h("dt", {}, what), h("dd", {}, h("strong", {}, value), h("small", {}, more))),
      ),
    );
  }

  private say(error: unknown): void {
    if (!this.signal.aborted) this.problem.textContent = (error as Error).message;
  }
}

function describe(ticket: Ticket): string {
  const structures = ticket.request?.structures;
  if (ticket.operation !== "cases") return ticket.operation;
  return structures?.length ? `Case: ${structures.join(", ")}` : "Case: everything";
}

function took(ticket: Ticket): number | null {
  if (!ticket.started) return null;
  const end = ticket.ended ? Date.parse(ticket.ended) : Date.now();
  return Math.max(0, (end - Date.parse(ticket.started)) / 1000);
}
