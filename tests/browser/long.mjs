// Messages that are too long for the driver of the browser, in a page that nobody drives.

// Runs in the page: the tests by name, each of which returns what is wrong.
export function longTests(address, mib) {
  const block = new Uint32Array(4 << 20); // 16 MiB
  const fill = (number) => {
    for (let at = 0; at < block.length; at += 1) {
      block[at] = Math.imul(at + number * 7919, 2654435761) ^ at;
    }
  };
  const differences = (number, buffer) => {
    fill(number);
    const got = new Uint32Array(buffer);
    let count = Math.abs(got.length - block.length);
    for (let at = 0; at < block.length; at += 1) if (got[at] !== block[at]) count += 1;
    return count;
  };

  // From a stream, which Chromium keeps on disk: it often fails to load one that was made of as much
  // in memory, before it sends anything ("Failed to load Blob: error code = 4").
  const made = () => {
    let number = 0;
    return new Response(new ReadableStream({
      pull(into) {
        fill(number);
        into.enqueue(new Uint8Array(block.buffer.slice(0)));
        number += 1;
        if (number === mib / 16) into.close();
      },
    })).blob();
  };

  const long = async (type) => {
    const blob = await made();
    const ws = new WebSocket(address);
    ws.binaryType = type;
    await new Promise((resolve, reject) => { ws.onopen = resolve; ws.onclose = reject; });
    const data = await new Promise((resolve, reject) => {
      ws.onmessage = (event) => resolve(event.data);
      ws.onclose = (event) => reject(new Error(`closed with ${event.code} ${event.reason}`));
      ws.send(blob);
    });
    const wrong = [];
    const size = data instanceof Blob ? data.size : data.byteLength;
    if (size !== mib << 20) wrong.push(`${size} bytes`);
    for (let number = 0; number < mib / 16; number += 1) {
      const part = data.slice(number << 24, (number + 1) << 24);
      const buffer = part instanceof Blob ? await part.arrayBuffer() : part;
      const count = differences(number, buffer);
      if (count > 0) wrong.push(`block ${number}: ${count}`);
    }
    const closed = new Promise((resolve) => { ws.onclose = resolve; });
    ws.close(1000);
    const { code, wasClean } = await closed;
    if (code !== 1000 || !wasClean) wrong.push(`closed with ${code}`);
    return wrong;
  };

  const streams = async () => {
    if (typeof WebSocketStream === "undefined") return "absent";
    const stream = new WebSocketStream(address);
    const { readable, writable } = await stream.opened;
    const [reader, writer] = [readable.getReader(), writable.getWriter()];
    const wrong = [];
    for (const text of ["", "Grüße, 世界", "é".repeat(1 << 20)]) {
      writer.write(text);
      if ((await reader.read()).value !== text) wrong.push(`text of ${text.length}`);
    }
    // Written when there is room, and read at the same time.
    const writes = (async () => {
      for (let number = 0; number < 8; number += 1) {
        fill(number);
        await writer.ready;
        await writer.write(block.slice());
      }
    })();
    const got = [];
    while (got.length < 8) got.push((await reader.read()).value);
    await writes;
    got.forEach((bytes, number) => {
      const count = differences(number, bytes.buffer ?? bytes);
      if (count > 0) wrong.push(`binary ${number}: ${count}`);
    });
    stream.close({ closeCode: 4000, reason: "enough" });
    const { closeCode, reason } = await stream.closed;
    if (closeCode !== 4000 || reason !== "enough") wrong.push(`closed with ${closeCode} ${reason}`);
    return wrong;
  };

  return { blob: () => long("blob"), arraybuffer: () => long("arraybuffer"), streams };
}
