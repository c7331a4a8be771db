// The SDK for JavaScript against centrifuge_peer: node sdk.mjs URL json|protobuf

import { Checks, load } from '../interop/check.mjs';
import { run } from './checks.mjs';

const [url, format] = process.argv.slice(2);
const checks = new Checks(`centrifuge-js ${format}`);

await run({
  url,
  format,
  json: load('centrifuge'),
  protobuf: load('centrifuge/build/protobuf'),
  WebSocket: load('ws'),
  cut: (socket) => socket.terminate(),
  mute(socket) {
    socket._socket.pause();
    return () => socket._socket.resume();
  },
  mark: process.pid,
  report: (name, check, seconds) => checks.run(name, check, seconds),
});

process.exit(process.exitCode);
