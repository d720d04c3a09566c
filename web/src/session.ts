/** The bearer token: kept for this tab alone, and gone with it. */

const KEY = "nephra.token";

export function token(): string | null {
  return sessionStorage.getItem(KEY);
}

export function keep(value: string): void {
  sessionStorage.setItem(KEY, value);
}

export function forget(): void {
  sessionStorage.clear();
}

/** Whether this gateway asks for a token at all; its page says so. */
export function needed(): boolean {
  return document.documentElement.dataset["auth"] !== "none";
}
