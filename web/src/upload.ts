/** Files to the data root: piece by piece, with progress, and going on after a broken connection. */

import { address, ask, filePath, Refused } from "./api";
import { pause } from "./dom";
import { digestHeader, Sha256 } from "./sha256";
import { token } from "./session";

const PIECE = 4 * 2 ** 20;
const TRIES = 6;

/** Names as they travel well: no folders, spaces or signs that mean something elsewhere. */
export function safeName(name: string): string {
  const kept = name
    .normalize("NFKD")
    .replace(/[^A-Za-z0-9._-]+/g, "_")
    .replace(/^[._-]+/, "");
  return kept.slice(-100) || "image.nii.gz";
}

/** A folder of its own for what is dropped together. */
export function newFolder(): string {
  const random = Array.from(crypto.getRandomValues(new Uint8Array(4)), (b) =>
    b.toString(16).padStart(2, "0"),
  ).join("");
  return `uploads/${new Date().toISOString().slice(0, 10)}-${random}`;
}

/**
 * Upload a file.
 *
 * @param progress is told how many bytes are there.
 * @throws Refused what the gateway does not take; an AbortError where it was stopped.
 */
export async function upload(
  file: File,
  path: string,
  progress: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  let digest = new Sha256();
  let hashed = 0;
  let offset = 0;
  let failures = 0;
  while (offset < file.size || file.size === 0) {
    const end = Math.min(offset + PIECE, file.size);
    const piece = new Uint8Array(await file.slice(offset, end).arrayBuffer());
    if (offset === hashed) {
      digest.update(piece);
      hashed = end;
    }
    try {
      const headers: Record<string, string> = {
        "Content-Type": "application/octet-stream",
        "Content-Range": `bytes ${offset}-${end - 1}/${file.size}`,
      };
      // The digest of the whole goes with the last piece, which is when it can be checked.
      if (end === file.size) headers["Repr-Digest"] = digestHeader(digest.digest());
      await ask(filePath(path), { method: "PUT", headers, body: piece, signal });
      offset = end;
      failures = 0;
    } catch (error) {
      failures += 1;
      if (signal.aborted || !mendable(error) || failures > TRIES) throw error;
      await pause(250 * 2 ** failures, signal);
      offset = await arrived(path, file.size, signal);
      // What was hashed past that point has to be hashed again.
      [digest, hashed] = await hashUpTo(file, offset);
    }
    progress(offset);
    if (file.size === 0) break;
  }
}

/** A broken connection, a busy gateway or a wrong offset; everything else is an answer. */
function mendable(error: unknown): boolean {
  if (!(error instanceof Refused)) return error instanceof TypeError;
  return [409, 429, 500, 502, 503, 504].includes(error.problem.status);
}

/** How many bytes of an upload have arrived. */
async function arrived(path: string, size: number, signal: AbortSignal): Promise<number> {
  const headers = new Headers();
  const held = token();
  if (held !== null) headers.set("Authorization", `Bearer ${held}`);
  const answer = await fetch(address(filePath(path)), { method: "HEAD", headers, signal }).catch(() => null);
  if (answer === null || !answer.ok) return 0;
  const offset = answer.headers.get("Upload-Offset") ?? answer.headers.get("Content-Length");
  return Math.min(Number(offset ?? 0), size);
}

async function hashUpTo(file: File, offset: number): Promise<[Sha256, number]> {
  const digest = new Sha256();
  for (let at = 0; at < offset; at += PIECE)
    digest.update(new Uint8Array(await file.slice(at, Math.min(at + PIECE, offset)).arrayBuffer()));
  return [digest, offset];
}
