import { expect, test } from "vitest";
import { eventsOf, type Line } from "../src/eventstream";

async function read(...pieces: string[]): Promise<Line[]> {
  const bytes = pieces.map((piece) => new TextEncoder().encode(piece));
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of bytes) controller.enqueue(piece);
      controller.close();
    },
  });
  const found: Line[] = [];
  for await (const line of eventsOf(body)) found.push(line);
  return found;
}

test("events are found however the stream is cut", async () => {
  const text =
    'retry: 1000\n\n: alive\n\nid: 7\nevent: progress\ndata: {"a":\ndata: 1}\n\nid: 8\ndata: é\r\n\r\n';
  const wanted = [
    { id: "7", event: "progress", data: '{"a":\n1}' },
    { id: "8", event: "message", data: "é" },
  ];
  expect(await read(text)).toEqual(wanted);
  expect(await read(...text)).toEqual(wanted);
});

test("an event that was cut off is not one", async () => {
  expect(await read("id: 1\ndata: whole\n\nid: 2\ndata: ha")).toEqual([
    { id: "1", event: "message", data: "whole" },
  ]);
});
