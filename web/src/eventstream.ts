/** Server-Sent Events from a `fetch`, which unlike EventSource can send a token. */

export interface Line {
  id: string;
  event: string;
  data: string;
}

/** The events of a stream, as the HTML standard splits them; comments are skipped. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Line> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let id = "";
  let event = "";
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? "" : decoder.decode(value, { stream: true });
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield { id, event: event || "message", data: data.join("\n") };
          event = "";
          data = [];
          continue;
        }
        const [, name, text] = /^([^:]*):? ?(.*)$/.exec(line) ?? ["", "", ""];
        if (name === "id") id = text ?? "";
        else if (name === "event") event = text ?? "";
        else if (name === "data") data.push(text ?? "");
      }
      if (done) return;
    }
  } finally {
    // Whoever stops listening hangs up.
    await reader.cancel().catch(() => undefined);
  }
}
