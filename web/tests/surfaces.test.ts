import { expect, test } from "vitest";
import { surfacesOfGlb, UnreadableGlb } from "../src/glb";
import { surfacesOfObj } from "../src/obj";
import { capsule, measure } from "../src/scene";

function glb(document: object, binary: Uint8Array): Uint8Array {
  const text = new TextEncoder().encode(
    JSON.stringify(document).padEnd(Math.ceil(JSON.stringify(document).length / 4) * 4),
  );
  const bytes = new Uint8Array(20 + text.length + 8 + binary.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x46546c67, true);
  view.setUint32(12, text.length, true);
  bytes.set(text, 20);
  bytes.set(binary, 28 + text.length);
  return bytes;
}

const POINTS = Float32Array.from([0.01, 0.02, 0.03, 0, 0, 0, 0.1, 0, 0]);
const BINARY = new Uint8Array([
  ...new Uint8Array(POINTS.buffer),
  ...new Uint8Array(Uint32Array.from([0, 1, 2]).buffer),
]);
const DOCUMENT = {
  scenes: [{ nodes: [0] }],
  nodes: [{ name: "artery", mesh: 0 }],
  meshes: [{ primitives: [{ attributes: { POSITION: 0 }, indices: 1 }] }],
  accessors: [
    { bufferView: 0, count: 3, componentType: 5126 },
    { bufferView: 1, count: 3, componentType: 5125 },
  ],
  bufferViews: [
    { byteOffset: 0, byteLength: 36 },
    { byteOffset: 36, byteLength: 12 },
  ],
};

test("a GLB in metres, +x left, +y up, +z front becomes RAS+ mm", () => {
  const [artery] = surfacesOfGlb(glb(DOCUMENT, BINARY));
  expect(artery!.name).toBe("artery");
  expect(Array.from(artery!.points.slice(0, 3), Math.round)).toEqual([-10, 30, 20]);
  expect([...artery!.triangles]).toEqual([0, 1, 2]);
});

test("what is compressed or no GLB is refused", () => {
  expect(() =>
    surfacesOfGlb(glb({ ...DOCUMENT, extensionsRequired: ["KHR_draco_mesh_compression"] }, BINARY)),
  ).toThrow(UnreadableGlb);
  expect(() => surfacesOfGlb(new TextEncoder().encode("this is something else"))).toThrow(UnreadableGlb);
});

test("an OBJ in LPS becomes RAS+ mm, and each object counts from its own first vertex", () => {
  const text =
    "# SPACE=LPS\no a\nv 1 2 3\nv 0 0 0\nv 1 0 0\nf 1//1 2//2 3//3\no b\nv 5 5 5\nv 6 5 5\nv 5 6 5\nf 4 5 6\n";
  const [a, b] = surfacesOfObj(text);
  expect([a!.name, b!.name]).toEqual(["a", "b"]);
  expect([...a!.points.slice(0, 3)]).toEqual([-1, -2, 3]);
  expect([...b!.triangles]).toEqual([0, 1, 2]);
});

test("the tube that marks a bridge is closed and turned outward", () => {
  const { points, triangles } = capsule([0, 0, 0], [10, 0, 0], 2);
  let volume = 0;
  for (let i = 0; i < triangles.length; i += 3) {
    const [a, b, c] = [0, 1, 2].map((k) =>
      points.slice(3 * triangles[i + k]!, 3 * triangles[i + k]! + 3),
    ) as [Float32Array, Float32Array, Float32Array];
    volume +=
      (a[0]! * (b[1]! * c[2]! - b[2]! * c[1]!) -
        a[1]! * (b[0]! * c[2]! - b[2]! * c[0]!) +
        a[2]! * (b[0]! * c[1]! - b[1]! * c[0]!)) /
      6;
  }
  const exact = Math.PI * 4 * 10 + (4 / 3) * Math.PI * 8;
  expect(Math.abs(volume / exact - 1)).toBeLessThan(0.05);
});

test("the middle of a structure is that of its largest part", () => {
  const { points, triangles } = capsule([100, 50, 20], [110, 50, 20], 2);
  const crumb = capsule([0, 0, 0], [5, 0, 0], 2);
  const both = {
    points: Float32Array.from([...points, ...crumb.points]),
    triangles: Uint32Array.from([...triangles, ...crumb.triangles.map((k) => k + points.length / 3)]),
  };
  expect(measure(both).centre.map(Math.round)).toEqual([105, 50, 20]);
});
