/** How far a ticket is: the whole, and each of its steps. */

import { h, icon, only, put, type Icon } from "../dom";
import { ENDED, type Event, type Step, type Ticket } from "../messages";
import * as names from "../names";

const ICONS: Record<Step["state"], Icon> = {
  waiting: "clock",
  running: "play",
  finished: "check",
  left_out: "dash",
  failed: "alert",
};
const WORDS: Record<Step["state"], string> = {
  waiting: "waiting",
  running: "running",
  finished: "finished",
  left_out: "left out",
  failed: "failed",
};
/** A screen reader is told no more often, ms. */
const QUIET = 6000;

export class StepsPanel {
  readonly element: HTMLElement;
  private readonly title = h("h2", { id: "progress-title" }, "Progress");
  private readonly bar = h("progress", { max: 1, value: 0, "aria-labelledby": "progress-title" });
  private readonly line = h("p", { class: "line" });
  private readonly list = h("ol", { class: "steps" });
  private readonly details: HTMLDetailsElement;
  private readonly spoken = h("p", { class: "visually-hidden", role: "status", "aria-live": "polite" });
  private lastSpoken = 0;
  private furthest = 0;

  constructor(actions: HTMLElement) {
    this.details = h("details", { class: "each", open: true }, h("summary", {}, "Steps"), this.list);
    this.element = h(
      "section",
      { class: "panel progress", "aria-labelledby": "progress-title" },
      h("div", { class: "row" }, this.title, actions),
      this.bar,
      this.line,
      this.spoken,
      this.details,
    );
  }

  /** What a ticket says of itself. */
  show(ticket: Ticket): void {
    this.title.textContent = names.STATE[ticket.state];
    this.title.className = `state ${ticket.state}`;
    const ended = ENDED.has(ticket.state);
    this.bar.hidden = ended;
    if (!ended) this.progress(ticket);
    else this.line.textContent = outcome(ticket);
    const steps = ticket.steps ?? [];
    only(this.list, ...steps.map(stepRow));
    this.details.hidden = steps.length === 0;
    if (ended) {
      this.details.open = ticket.state === "failed";
      this.speak(`${names.STATE[ticket.state]}. ${this.line.textContent}`, true);
    }
  }

  /** Where things stand now. */
  progress(now: Pick<Event, "stage" | "fraction" | "seconds_left" | "position"> | Ticket): void {
    // What is read of the ticket may be older than the last event.
    this.furthest = Math.max(this.furthest, now.fraction ?? 0);
    this.bar.value = this.furthest;
    const waiting = typeof now.position === "number" && now.position > 0;
    const parts = waiting
      ? [`${now.position} before it in the queue`]
      : [names.percent(this.furthest), now.stage ? names.stage(now.stage) : "", left(now.seconds_left)];
    this.line.textContent = parts.filter(Boolean).join(" · ");
    this.speak(this.line.textContent, false);
  }

  private speak(text: string, now: boolean): void {
    if (!now && Date.now() - this.lastSpoken < QUIET) return;
    this.lastSpoken = Date.now();
    this.spoken.textContent = text;
  }
}

function left(seconds: number | null | undefined): string {
  return typeof seconds === "number" && seconds >= 1
    ? `about ${names.duration(Math.ceil(seconds))} left`
    : "";
}

function outcome(ticket: Ticket): string {
  if (ticket.problem) return [ticket.problem.detail, ticket.problem.action].filter(Boolean).join(" ");
  if (ticket.state === "cancelled") return "It was cancelled before it was done.";
  const seconds = ticket.result?.timings?.["total"] ?? took(ticket);
  if (ticket.cached) return "Known already: found in the cache.";
  return seconds === null ? "" : `Done in ${names.duration(seconds)}.`;
}

function took(ticket: Ticket): number | null {
  return ticket.started && ticket.ended
    ? (Date.parse(ticket.ended) - Date.parse(ticket.started)) / 1000
    : null;
}

function stepRow(given: Step): HTMLElement {
  // A model that waits for the one before it, in the same request, has not begun.
  const begun = given.state !== "running" || Boolean(given.fraction) || Boolean(given.stage);
  const step: Step = begun ? given : { ...given, state: "waiting" };
  const seconds = typeof step.seconds === "number" ? names.duration(step.seconds) : "";
  const said =
    step.state === "running"
      ? names.percent(step.fraction ?? 0)
      : step.state === "finished"
        ? step.cached
          ? "from the cache"
          : seconds || WORDS.finished
        : WORDS[step.state];
  const row = h(
    "li",
    { class: step.state },
    icon(ICONS[step.state]),
    h("span", { class: "name" }, names.step(step.name)),
    h("span", { class: "said" }, said),
  );
  if (step.state !== "running" && step.state !== "left_out" && !(step.state === "finished" && step.cached))
    put(row, h("span", { class: "visually-hidden" }, WORDS[step.state]));
  if (step.state === "running" && step.stage)
    put(row, h("small", {}, names.structure(step.stage.replace(`${step.name}: `, ""))));
  return row;
}
