// Bun's own server, which has uWebSockets inside: it writes all replies to what was read at once.
const options = require("./options.js");

const tls = options.tls && {
  cert: Bun.file(`${options.tls}/cert.pem`),
  key: Bun.file(`${options.tls}/key.pem`),
};

// `default` is what the documentation shows; a shared compressor keeps nothing between messages.
const deflate = {
  default: true,
  takeover: { compress: "dedicated", decompress: "dedicated" },
  "no-takeover": { compress: "shared", decompress: "shared" },
  small: { compress: "4KB", decompress: "shared" },
};

// `hub`: each message is for the topic of which the number stands in front. See `topics_of` in kit.
const topics = Array.from({ length: Number(options.topics ?? 0) }, (_, topic) => `${topic}`);
const side = Math.floor(Math.sqrt(topics.length));
let connections = 0;
function subscribe(ws) {
  const connection = connections++;
  for (let row = 0; row < side; row++) {
    ws.subscribe(topics[row * side + ((connection + row * Math.floor(connection / side)) % side)]);
  }
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(options.port ?? 0),
  // Several processes, which the kernel shares connections out to.
  reusePort: "port" in options,
  tls: tls || undefined,
  fetch(request, server) {
    if (!server.upgrade(request)) return new Response("upgrade", { status: 426 });
  },
  websocket: {
    maxPayloadLength: 64 * 1024 * 1024,
    backpressureLimit: 64 * 1024 * 1024,
    idleTimeout: 960,
    perMessageDeflate: options.deflate ? deflate[options.deflate] : false,
    open(ws) {
      if (options.task === "broadcast") ws.subscribe("all");
      if (options.task === "hub") subscribe(ws);
    },
    message(ws, message) {
      const compress = Boolean(options.deflate);
      if (options.task === "broadcast") server.publish("all", message, compress);
      else if (options.task === "hub") server.publish(topics[message.readUInt32LE(0)], message, compress);
      else ws.send(message, compress);
    },
  },
});
console.log(`listening 127.0.0.1:${server.port}`);
