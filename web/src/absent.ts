/** Stands in for a library that reads what nephra has none of (Zarr), so that browsers need not load it. */

function absent(): never {
  throw new Error("Zarr images are not supported here.");
}

export { absent as get, absent as open, absent as root, absent as slice };
export class FetchStore {
  constructor() {
    absent();
  }
}
