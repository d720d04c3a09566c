/** The gateway's API, as the page uses it. All addresses are relative to the page's own. */

import { eventsOf } from "./eventstream";
import type { CacheNumbers, Event, FilePage, Labels, Problem, State, Ticket, TicketPage } from "./messages";
import { forget, token } from "./session";

/** What the gateway refused, in its own words. */
export class Refused extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super([problem.detail, problem.action].filter(Boolean).join(" "));
    this.problem = problem;
  }
}

/** The token is not, or no longer, good. */
export class SignedOut extends Refused {}

let whenSignedOut: (said: string) => void = () => undefined;

/** Who is told when the gateway does not know the token any more. */
export function onSignedOut(listener: (said: string) => void): void {
  whenSignedOut = listener;
}

export function address(path: string): string {
  return new URL(path, document.baseURI).href;
}

/** Path segments as an address has them. */
export function filePath(path: string): string {
  return `files/${path.split("/").map(encodeURIComponent).join("/")}`;
}

/**
 * Ask the gateway.
 *
 * @throws Refused what it does not do, and why; SignedOut where the token is not good.
 */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const held = token();
  if (held !== null) headers.set("Authorization", `Bearer ${held}`);
  const answer = await fetch(address(path), { ...init, headers, redirect: "error", credentials: "omit" });
  if (answer.ok) return answer;
  const problem = await problemOf(answer);
  if (answer.status === 401) {
    forget();
    whenSignedOut(problem.detail);
    throw new SignedOut(problem);
  }
  throw new Refused(problem);
}

async function problemOf(answer: Response): Promise<Problem> {
  const fallback = {
    status: answer.status,
    code: "unknown",
    detail: `The gateway answered ${answer.status}.`,
  };
  try {
    return { ...fallback, ...((await answer.json()) as Partial<Problem>) };
  } catch {
    return fallback;
  }
}

async function json<T>(path: string, init?: RequestInit): Promise<T> {
  return (await (await ask(path, init)).json()) as T;
}

let known: Promise<Labels> | null = null;

/** What the numbers in masks mean; asked once. */
export function labels(): Promise<Labels> {
  known ??= json<Labels>("labels").catch((error: unknown) => {
    known = null;
    throw error;
  });
  return known;
}

export async function offered(): Promise<Set<string>> {
  return new Set((await json<{ name: string }[]>("operations")).map((o) => o.name));
}

export function start(request: object, fresh: boolean): Promise<Ticket> {
  const headers: Record<string, string> = {
    "Content-Type": "application/json",
    Prefer: "respond-async",
    // A request that is sent again because the connection broke does not run twice.
    "Idempotency-Key": Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) =>
      b.toString(16).padStart(2, "0"),
    ).join(""),
  };
  if (fresh) headers["Cache-Control"] = "no-cache";
  return json<Ticket>("cases", { method: "POST", headers, body: JSON.stringify(request) });
}

export function ticket(id: string, signal?: AbortSignal): Promise<Ticket> {
  return json<Ticket>(`tickets/${encodeURIComponent(id)}`, signal ? { signal } : {});
}

export function tickets(
  states: readonly State[],
  cursor: string | null,
  signal?: AbortSignal,
): Promise<TicketPage> {
  const query = new URLSearchParams({ limit: "20" });
  for (const state of states) query.append("state", state);
  if (cursor !== null) query.set("cursor", cursor);
  return json<TicketPage>(`tickets?${query.toString()}`, signal ? { signal } : {});
}

export function cancel(id: string): Promise<Ticket> {
  return json<Ticket>(`tickets/${encodeURIComponent(id)}`, { method: "DELETE" });
}

export function retry(id: string): Promise<Ticket> {
  return json<Ticket>(`tickets/${encodeURIComponent(id)}/retry`, { method: "POST" });
}

export function cacheNumbers(signal?: AbortSignal): Promise<CacheNumbers> {
  return json<CacheNumbers>("cache", signal ? { signal } : {});
}

export function files(under: string): Promise<FilePage> {
  return json<FilePage>(`files?${new URLSearchParams(under ? { under } : {}).toString()}`);
}

/** A ticket's events from number `after` on; ends with its last one, or when the connection does. */
export async function* events(
  id: string,
  after: string,
  signal: AbortSignal,
): AsyncGenerator<{ id: string; event: Event }> {
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (after) headers["Last-Event-ID"] = after;
  const answer = await ask(`tickets/${encodeURIComponent(id)}/events`, { headers, signal });
  if (answer.body === null) return;
  for await (const line of eventsOf(answer.body))
    yield { id: line.id, event: { event: line.event, ...JSON.parse(line.data) } as Event };
}

/** The bytes of a file of the data root. */
export async function download(
  path: string,
  signal?: AbortSignal,
  progress: (fraction: number) => void = () => undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  const answer = await ask(filePath(path), signal ? { signal } : {});
  const total = Number(answer.headers.get("Content-Length") ?? 0);
  const parts: Uint8Array[] = [];
  let size = 0;
  if (answer.body !== null) {
    const reader = answer.body.getReader();
    for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
      if (value === undefined) continue;
      parts.push(value);
      size += value.byteLength;
      if (total > 0) progress(Math.min(1, size / total));
    }
  }
  const whole = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.byteLength;
  }
  return whole;
}
