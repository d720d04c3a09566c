import { defineConfig } from "vite";

// What nephra never reads: Zarr and its codecs, whose WebAssembly the page's policy forbids anyway.
const absent = ["zarrita", "numcodecs"];

export default defineConfig({
  // Relative addresses, so that the page works under any prefix of a proxy.
  base: "./",
  build: {
    outDir: "../gateway/src/nephra_gateway/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    target: "es2022",
    modulePreload: { polyfill: false },
    license: { fileName: "licences.md" },
    chunkSizeWarningLimit: 4000,
  },
  resolve: {
    alias: absent.map((name) => ({ find: name, replacement: `${import.meta.dirname}/src/absent.ts` })),
  },
  server: { proxy: {} },
});
