/** The named surfaces of nephra's own OBJ files. */

import type { Surface } from "./glb";

/** Each `o` is one structure; LPS unless the file says RAS. Faces are triangles. */
export function surfacesOfObj(text: string): Surface[] {
  const found: Surface[] = [];
  const flip = /^# SPACE=RAS/m.test(text) ? 1 : -1;
  let points: number[] = [];
  let triangles: number[] = [];
  let name = "";
  let before = 0;
  let count = 0;
  const close = () => {
    if (triangles.length > 0)
      found.push({ name, points: Float32Array.from(points), triangles: Uint32Array.from(triangles) });
    before = count;
    points = [];
    triangles = [];
  };
  for (const line of text.split("\n")) {
    const [word, ...rest] = line.trim().split(/\s+/);
    if (word === "o") {
      close();
      name = rest[0] ?? "";
    } else if (word === "v") {
      count += 1;
      points.push(flip * Number(rest[0]), flip * Number(rest[1]), Number(rest[2]));
    } else if (word === "f") {
      triangles.push(...rest.slice(0, 3).map((corner) => parseInt(corner, 10) - 1 - before));
    }
  }
  close();
  return found;
}
