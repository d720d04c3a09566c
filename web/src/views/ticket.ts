/** One ticket: how far it is, and what it has made so far. */

import * as api from "../api";
import { h, pause, put, only } from "../dom";
import { surfacesOfGlb, UnreadableGlb, type Surface } from "../glb";
import { Look } from "../look";
import { ENDED, PHASES, type Answer, type Bridge, type Event, type Phase, type Ticket } from "../messages";
import * as names from "../names";
import { surfacesOfObj } from "../obj";
import { BridgesPanel, bridgesOf } from "../panels/bridges";
import { DownloadsPanel } from "../panels/downloads";
import { StagePanel } from "../panels/stage";
import { StepsPanel } from "../panels/steps";
import { StructuresPanel } from "../panels/structures";

/** Between two looks at a ticket that changes, ms. */
const LOOK = 800;

export function ticketView(id: string): (root: HTMLElement, signal: AbortSignal) => void {
  return (root, signal) => {
    const view = new TicketView(root, id, signal);
    void view.run();
  };
}

class TicketView {
  private readonly stage = new StagePanel();
  private readonly steps: StepsPanel;
  private readonly downloads: DownloadsPanel;
  private structures: StructuresPanel | null = null;
  private readonly bridges = new BridgesPanel((bridge) => this.point(bridge));
  private readonly warnings = h("ul", {});
  private readonly warned = h(
    "section",
    { class: "panel warnings", "aria-labelledby": "warnings-title", hidden: true },
    h("h2", { id: "warnings-title" }, "Notes"),
    this.warnings,
  );
  private readonly problem = h("p", { class: "problem", role: "alert" });
  private readonly actions = h("div", { class: "buttons" });
  private readonly title = h("h1", {}, "Case");
  private readonly about = h("p", { class: "hint" });
  private readonly side = h("div", { class: "side" });
  private volumes: Record<string, number> = {};
  private foundBridges = new Map<string, Bridge[]>();
  private final = false;
  private lastLook = 0;
  /** Files come one after the other, in the order in which they were announced. */
  private queue: Promise<void> = Promise.resolve();

  constructor(
    root: HTMLElement,
    private readonly id: string,
    private readonly signal: AbortSignal,
  ) {
    this.steps = new StepsPanel(this.actions);
    this.downloads = new DownloadsPanel(signal);
    put(
      this.side,
      h("div", { class: "panel title" }, this.title, this.about, this.problem),
      this.steps.element,
      this.warned,
      this.bridges.element,
      this.downloads.element,
    );
    put(root, h("div", { class: "ticket" }, this.side, this.stage.element));
    signal.addEventListener("abort", () => this.stage.close());
  }

  async run(): Promise<void> {
    try {
      const [ticket, labels] = await Promise.all([api.ticket(this.id, this.signal), api.labels()]);
      const look = new Look(labels);
      this.structures = new StructuresPanel(look, (name) => this.find(name));
      this.steps.element.after(this.structures.element);
      this.show(ticket);
      await this.stage.open(look);
      if (this.signal.aborted) return this.stage.close();
      this.showImage(ticket);
      if (ticket.result) this.finish(ticket.result);
      if (!ENDED.has(ticket.state)) await this.follow();
    } catch (error) {
      this.say(error);
    }
  }

  private show(ticket: Ticket): void {
    const phases = PHASES.filter((p) => ticket.request?.phases?.[p]);
    this.title.textContent = ticket.operation === "cases" ? "Case" : ticket.operation;
    document.title = `${names.STATE[ticket.state]} – nephra`;
    only(
      this.about,
      h("code", {}, ticket.ticket.slice(0, 8)),
      ` · ${names.moment(ticket.created)}`,
      phases.length > 0 && ` · ${phases.map((p) => names.PHASE[p].toLowerCase()).join(", ")}`,
    );
    this.steps.show(ticket);
    this.offer(ticket);
  }

  private offer(ticket: Ticket): void {
    const act = (text: string, then: () => Promise<void>, kind = "") => {
      const button = h(
        "button",
        {
          type: "button",
          class: kind,
          onclick: async () => {
            button.disabled = true;
            await then().catch((error: unknown) => this.say(error));
            button.disabled = false;
          },
        },
        text,
      );
      return button;
    };
    const again = act(
      "Try again",
      async () => {
        location.hash = `#/tickets/${(await api.retry(ticket.ticket)).ticket}`;
      },
      "primary",
    );
    const cancel = act("Cancel", async () => this.show(await api.cancel(ticket.ticket)));
    const wanted = !ENDED.has(ticket.state) ? cancel : ticket.state === "succeeded" ? null : again;
    // The button that somebody is about to press stays the same.
    if (this.actions.firstElementChild?.textContent !== wanted?.textContent) only(this.actions, wanted);
  }

  /** Listen until the ticket has ended, again and again where the connection breaks. */
  private async follow(): Promise<void> {
    let last = "";
    for (let failures = 0; !this.signal.aborted; failures++) {
      try {
        for await (const { id, event } of api.events(this.id, last, this.signal)) {
          last = id || last;
          failures = 0;
          this.hear(event);
        }
      } catch (error) {
        if (this.signal.aborted) return;
        if (error instanceof api.Refused && error.problem.status < 500 && error.problem.status !== 429)
          throw error;
      }
      try {
        const ticket = await api.ticket(this.id, this.signal);
        this.problem.textContent = "";
        this.show(ticket);
        if (ticket.result) this.finish(ticket.result);
        if (ENDED.has(ticket.state)) return;
      } catch (error) {
        if (this.signal.aborted || (error instanceof api.Refused && error.problem.status < 500)) throw error;
        this.problem.textContent = "The connection is lost. The work goes on; trying to reach it …";
      }
      await pause(Math.min(10_000, 300 * 2 ** failures), this.signal);
    }
  }

  private hear(event: Event): void {
    if (event.event === "progress") {
      this.steps.progress(event);
      void this.lookAgain();
    } else if (event.event === "artifact" && event.artifact) {
      this.gather(event.stage ?? "", event.artifact);
      void this.lookAgain();
    } else if (event.event === "result" && event.result) {
      this.finish(event.result);
    }
  }

  /** The steps, now and then. */
  private async lookAgain(): Promise<void> {
    if (Date.now() - this.lastLook < LOOK) return;
    this.lastLook = Date.now();
    try {
      const ticket = await api.ticket(this.id, this.signal);
      if (!this.final) this.show(ticket);
    } catch {
      // The stream of events says what happens; this only adds to it.
    }
  }

  /** What a step has made. */
  private gather(stage: string, answer: Answer): void {
    if (this.final) return;
    const synthetic = stage === "sample" || stage === "preview";
    if (!synthetic) Object.assign(this.volumes, answer.volumes_ml ?? {});
    this.foundBridges.set(stage, bridgesOf(answer));
    this.bridges.show([...this.foundBridges.values()].flat());
    if (answer.mask_path && !synthetic)
      this.load(() => this.loadMask(answer.mask_path!, stage.replace(/-joined$/, ""), stage === "merge"));
    if (answer.glb_path ?? answer.obj_path)
      this.load(() => this.loadSurfaces(answer, false, stage === "preview"));
    this.list();
  }

  /** All that there is. */
  private finish(answer: Answer): void {
    if (this.final) return;
    this.final = true;
    this.volumes = answer.volumes_ml ?? this.volumes;
    this.bridges.show(bridgesOf(answer));
    const warnings = answer.warnings ?? [];
    this.warned.hidden = warnings.length === 0;
    only(this.warnings, ...warnings.map((w) => h("li", {}, w)));
    this.downloads.show(answer);
    if (answer.mask_path) this.load(() => this.loadMask(answer.mask_path!, "merge", true));
    if (answer.glb_path ?? answer.obj_path) this.load(() => this.loadSurfaces(answer, true, false));
    else this.stage.say("This result has no surfaces.");
    this.list();
  }

  private load(work: () => Promise<void>): void {
    const last = this.final;
    this.queue = this.queue.then(async () => {
      if (this.signal.aborted) return;
      // What could not be shown on the way is in what comes at the end.
      await work().catch((error: unknown) => (last || !this.final ? this.say(error) : undefined));
    });
  }

  private async loadSurfaces(answer: Answer, last: boolean, preview: boolean): Promise<void> {
    const { scene } = this.stage;
    if (scene === null || (this.final && !last)) return;
    if (last) this.stage.say("Loading the surfaces …");
    const surfaces = await this.surfaces(answer);
    scene.show(surfaces, last || preview);
    this.begin();
    this.stage.say(
      preview
        ? "Quick preview, made of a template: the patient's own surfaces follow."
        : surfaces.length === 0
          ? "No structure was found."
          : "",
    );
    this.stage.element.dataset["scene"] = last ? "final" : preview ? "preview" : "partial";
    this.list();
  }

  private async surfaces(answer: Answer): Promise<Surface[]> {
    if (answer.glb_path) {
      try {
        return surfacesOfGlb(await api.download(answer.glb_path, this.signal));
      } catch (error) {
        if (!(error instanceof UnreadableGlb) || !answer.obj_path) throw error;
      }
    }
    return surfacesOfObj(new TextDecoder().decode(await api.download(answer.obj_path!, this.signal)));
  }

  private async loadMask(path: string, key: string, alone: boolean): Promise<void> {
    const { slices } = this.stage;
    if (slices === null || (this.final && !alone)) return;
    await slices.showMask(await api.download(path, this.signal), key, alone);
    this.stage.element.dataset["masks"] = this.final ? "final" : key;
  }

  private showImage(ticket: Ticket): void {
    const given = ticket.request?.phases ?? {};
    const phase = PHASES.find((p) => given[p]);
    if (phase === undefined || this.stage.slices === null) {
      this.stage.sayOfSlices(phase === undefined ? "There is no image to show with this ticket." : "");
      return;
    }
    const choose = (wanted: Phase) => this.load(() => this.loadImage(given[wanted]!, names.PHASE[wanted]));
    this.stage.phases(given, phase, choose);
    choose(phase);
  }

  private async loadImage(path: string, title: string): Promise<void> {
    const said = (f: number) => this.stage.sayOfSlices(`Loading the image, ${names.percent(f)}`);
    const bytes = await api.download(path, this.signal, said);
    await this.stage.slices?.showImage(bytes, title);
    this.stage.sayOfSlices("");
    this.begin();
    this.stage.element.dataset["image"] = title;
  }

  private list(): void {
    const drawn = this.stage.scene?.names ?? [];
    const measured = Object.keys(this.volumes);
    this.structures?.show(drawn.length > 0 ? drawn : measured, this.volumes);
  }

  private point(bridge: Bridge | null): void {
    this.stage.scene?.highlight(bridge);
    if (bridge !== null)
      this.stage.slices?.goTo(bridge.ends_mm[0].map((v, i) => (v + bridge.ends_mm[1][i]!) / 2));
  }

  /** Slices begin where the kidneys are, the one with the tumour first. */
  private begin(): void {
    const wanted = ["tumor", "kidney_right", "kidney_left", "kidney"];
    const found = wanted.map((name) => this.stage.scene?.centre(name)).find(Boolean);
    if (found) this.stage.slices?.begin(found);
  }

  private find(name: string): void {
    const centre = this.stage.scene?.centre(name);
    if (centre) this.stage.slices?.goTo(centre);
  }

  private say(error: unknown): void {
    if (!this.signal.aborted) this.problem.textContent = (error as Error).message;
  }
}
