/** The named surfaces of nephra's own GLB files. */

/** One structure: vertices in RAS+ mm, and the corners of its triangles. */
export interface Surface {
  name: string;
  points: Float32Array;
  triangles: Uint32Array;
}

interface Document {
  scene?: number;
  scenes?: { nodes?: number[] }[];
  nodes?: { name?: string; mesh?: number }[];
  meshes?: { primitives: { attributes: Record<string, number>; indices: number }[] }[];
  accessors?: { bufferView: number; byteOffset?: number; count: number; componentType: number }[];
  bufferViews?: { byteOffset?: number; byteLength: number }[];
  extensionsRequired?: string[];
}

const MM = 1000;

/** The file is no GLB that this can read; its OBJ says the same. */
export class UnreadableGlb extends Error {}

/**
 * The finest level of each structure.
 *
 * @throws UnreadableGlb where it is not a GLB, or compressed.
 */
export function surfacesOfGlb(bytes: Uint8Array): Surface[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 20 || view.getUint32(0, true) !== 0x46546c67)
    throw new UnreadableGlb("This is no GLB file.");
  const length = view.getUint32(12, true);
  const document = JSON.parse(new TextDecoder().decode(bytes.subarray(20, 20 + length))) as Document;
  if (document.extensionsRequired?.length) throw new UnreadableGlb("This GLB file is compressed.");
  const binary = bytes.subarray(20 + length + 8);
  const roots = document.scenes?.[document.scene ?? 0]?.nodes ?? [];
  return roots.map((root) => surface(document, binary, root));
}

function surface(document: Document, binary: Uint8Array, root: number): Surface {
  const node = document.nodes?.[root];
  const primitive = document.meshes?.[node?.mesh ?? -1]?.primitives[0];
  if (node === undefined || primitive === undefined)
    throw new UnreadableGlb("A structure of this GLB file has no surface.");
  const corners = numbers(document, binary, primitive.attributes["POSITION"] ?? -1, 3);
  const points = new Float32Array(corners.buffer);
  for (let i = 0; i < points.length; i += 3) {
    // From metres with +x to the patient's left, +y up, +z to the front.
    const [left, up, front] = [points[i]!, points[i + 1]!, points[i + 2]!];
    points[i] = -left * MM;
    points[i + 1] = front * MM;
    points[i + 2] = up * MM;
  }
  const indices = numbers(document, binary, primitive.indices, 1);
  return { name: node.name ?? "", points, triangles: new Uint32Array(indices.buffer) };
}

/** A copy of an accessor's bytes, 4 a number. */
function numbers(
  document: Document,
  binary: Uint8Array,
  index: number,
  width: number,
): Uint8Array<ArrayBuffer> {
  const accessor = document.accessors?.[index];
  const view = document.bufferViews?.[accessor?.bufferView ?? -1];
  if (accessor === undefined || view === undefined || ![5125, 5126].includes(accessor.componentType))
    throw new UnreadableGlb("This GLB file is laid out in a way that is not known here.");
  const start = (view.byteOffset ?? 0) + (accessor.byteOffset ?? 0);
  return binary.slice(start, start + accessor.count * width * 4);
}
