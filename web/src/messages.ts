/** What the gateway says, as far as the page reads it. */

export type State = "queued" | "running" | "succeeded" | "failed" | "cancelled";
export type Phase = "A" | "P" | "D";
export const PHASES: readonly Phase[] = ["A", "P", "D"];

export interface Problem {
  status: number;
  code: string;
  detail: string;
  action?: string;
  title?: string;
}

export interface Label {
  number: number;
  group: string;
  rgba: [number, number, number, number];
}
export type Labels = Record<string, Label>;

export interface Bridge {
  structure: string;
  kind?: string;
  ends_mm: [number[], number[]];
  length_mm: number;
  radii_mm?: number[];
  plausibility?: number;
  around?: boolean;
}

export interface Answer {
  ticket: string;
  operation: string;
  cached?: boolean;
  mask_path?: string | null;
  labels_path?: string | null;
  obj_path?: string | null;
  mtl_path?: string | null;
  glb_path?: string | null;
  manifest_path?: string;
  mask_paths?: Record<string, string>;
  volumes_ml?: Record<string, number>;
  report?: Record<string, unknown>;
  warnings?: string[];
  timings?: Record<string, number>;
  preview?: Record<string, string> | null;
}

export interface Step {
  name: string;
  operation?: string;
  state: "waiting" | "running" | "finished" | "left_out" | "failed";
  fraction?: number | null;
  stage?: string | null;
  seconds?: number | null;
  cached?: boolean | null;
}

export interface Ticket {
  ticket: string;
  operation: string;
  state: State;
  stage?: string | null;
  fraction?: number | null;
  seconds_left?: number | null;
  position?: number | null;
  owner?: string | null;
  cached?: boolean;
  created?: string | null;
  started?: string | null;
  ended?: string | null;
  request?: {
    phases?: Partial<Record<Phase, string>>;
    structures?: string[] | null;
    [member: string]: unknown;
  };
  steps?: Step[];
  result?: Answer | null;
  problem?: Problem | null;
}

export interface Event {
  event: "progress" | "artifact" | "result" | "problem";
  stage?: string;
  fraction?: number | null;
  seconds_left?: number | null;
  position?: number | null;
  artifact?: Answer;
  result?: Answer;
  problem?: Problem;
}

export interface TicketPage {
  tickets: Ticket[];
  next?: string | null;
}

export interface CacheNumbers {
  entries: number;
  bytes: number;
  max_bytes: number;
  unused_s: number;
  hits: number;
  misses: number;
  seconds_saved: number;
}

export interface FilePage {
  files: { path: string; bytes: number; modified?: string }[];
  folders: string[];
  next?: string | null;
}

export const ENDED: ReadonlySet<State> = new Set<State>(["succeeded", "failed", "cancelled"]);
