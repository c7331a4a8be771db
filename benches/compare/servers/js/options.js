// The command line that all servers take: TASK [TOPICS] [--api NAME] [--tls DIR] [--deflate NAME] [--port NUMBER].
const [, , task, ...words] = process.argv;
const options = { task };
if (task === "hub") options.topics = words.shift();
for (let at = 0; at < words.length; at += 2) options[words[at].slice(2)] = words[at + 1];

// Ends together with the process that started this one.
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();

module.exports = options;
