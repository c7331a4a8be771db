// Node's `ws`, with the settings that its documentation shows.
const options = require("./options.js");
const fs = require("node:fs");
const { WebSocket, WebSocketServer } = require("ws");

const deflate = {
  default: true,
  takeover: { threshold: 0 },
  "no-takeover": { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true },
  fast: { threshold: 0, zlibDeflateOptions: { level: 1 } },
};

const server = options.tls
  ? require("node:https").createServer({
      cert: fs.readFileSync(`${options.tls}/cert.pem`),
      key: fs.readFileSync(`${options.tls}/key.pem`),
    })
  : require("node:http").createServer();
const wss = new WebSocketServer({
  server,
  perMessageDeflate: options.deflate ? deflate[options.deflate] : false,
});
wss.on("connection", (ws) => {
  ws._socket.setNoDelay(true);
  ws.on("error", () => {});
  ws.on("message", (data, binary) => {
    if (options.task !== "broadcast") return ws.send(data, { binary });
    for (const client of wss.clients)
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary });
  });
});
server.listen(0, "127.0.0.1", 4096, () => {
  console.log(`listening 127.0.0.1:${server.address().port}`);
});
