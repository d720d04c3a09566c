/** Names for people: of structures, groups, steps, states, sizes and times. */

import type { Phase, State } from "./messages";

const STRUCTURES: Record<string, string> = {
  tumor: "Tumour",
  artery: "Arteries",
  vein: "Veins",
  inferior_vena_cava: "Inferior vena cava",
  perirenal_fat: "Perirenal fat",
  subcutaneous_fat: "Subcutaneous fat",
  urinary_bladder: "Bladder",
};

/** `kidney_left` → Left kidney. */
export function structure(name: string): string {
  const known = STRUCTURES[name];
  if (known !== undefined) return known;
  const words = name
    .replace(/^(.*)_(left|right)(.*)$/, "$2_$1$3")
    .split("_")
    .filter(Boolean);
  const text = words.join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Groups in the order in which a surgeon asks for them. */
export const GROUPS: Record<string, string> = {
  kidney: "Kidneys",
  tumor: "Tumour",
  cyst: "Cysts",
  artery: "Arteries",
  vein: "Veins",
  urinary: "Urinary tract",
  fat: "Fat",
  organ: "Organs",
  bone: "Bones",
  muscle: "Muscles",
};

export function group(name: string): string {
  return GROUPS[name] ?? structure(name);
}

const STEPS: Record<string, string> = {
  inference: "Segmentation models",
  totalseg: "Organs and bones",
  tumor: "Kidneys and tumour",
  vessel: "Arteries and veins",
  ureter: "Ureters",
  sample: "Template fitted",
  preview: "Quick preview",
  "tumor-surfaces": "Surfaces of kidneys and tumour",
  "vessel-surfaces": "Surfaces of arteries and veins",
  "ureter-surfaces": "Surfaces of ureters",
  "vessel-joined": "Severed vessels joined",
  "ureter-joined": "Severed ureters joined",
  fat: "Perirenal fat",
  merge: "Masks merged",
  scene: "Smooth surfaces",
};

export function step(name: string): string {
  return STEPS[name] ?? structure(name.replaceAll("-", "_").replaceAll("/", ": "));
}

/** What a stage of the gateway's says: `inference: tumor: inference` → Kidneys and tumour: inference. */
export function stage(text: string): string {
  const parts = text.split(": ");
  if (parts.length > 1 && parts[0] === "inference") parts.shift();
  return parts.map((p, i) => (i === 0 ? step(p) : p.replaceAll("_", " "))).join(": ");
}

export const PHASE: Record<Phase, string> = { A: "Arterial", P: "Portal-venous", D: "Delayed" };

export const STATE: Record<State, string> = {
  queued: "Waiting",
  running: "Running",
  succeeded: "Finished",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** The phase that a file's name speaks of, or null. */
export function phaseOf(name: string): Phase | null {
  const stem = name
    .split("/")
    .pop()!
    .replace(/\.nii(\.gz)?$/i, "");
  const words = stem
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z]+/);
  const says = (...starts: string[]) =>
    words.some((w) => starts.some((s) => w.startsWith(s) && w !== "port"));
  if (says("delay", "excret", "urograph", "nephrog") || words.includes("d") || words.includes("dp"))
    return "D";
  if (says("portal", "venous", "pv") || words.includes("p") || words.includes("pvp") || words.includes("vp"))
    return "P";
  if (says("arter", "cortico") || words.includes("a") || words.includes("ap")) return "A";
  return null;
}

export function size(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (bytes >= 1000 && at < units.length - 1) {
    bytes /= 1000;
    at += 1;
  }
  return `${bytes < 10 && at > 0 ? bytes.toFixed(1) : Math.round(bytes)} ${units[at]}`;
}

export function millilitres(ml: number): string {
  return `${ml < 10 ? ml.toFixed(1) : Math.round(ml).toLocaleString("en")} mL`;
}

export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function percent(fraction: number): string {
  return `${Math.floor(Math.max(0, Math.min(1, fraction)) * 100)} %`;
}

export function moment(iso: string | null | undefined): string {
  if (!iso) return "";
  const when = new Date(iso);
  const today = when.toDateString() === new Date().toDateString();
  const time = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return today ? time : `${when.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}
