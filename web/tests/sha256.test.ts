import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { digestHeader, Sha256 } from "../src/sha256";

test.each([0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100_000])(
  "%d bytes have the digest that node says",
  (size) => {
    const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 7919) % 251);
    const whole = createHash("sha256").update(bytes).digest("base64");
    const pieces = new Sha256();
    for (let at = 0; at < size; at += 37) pieces.update(bytes.subarray(at, at + 37));
    expect(digestHeader(pieces.digest())).toBe(`sha-256=:${whole}:`);
    expect(digestHeader(new Sha256().update(bytes).digest())).toBe(`sha-256=:${whole}:`);
  },
);
