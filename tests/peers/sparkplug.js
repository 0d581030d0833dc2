// Decodes payloads with sparkplug-payload and prints what it read: lines of hexadecimal in, lines of JSON out.
const payload = require("sparkplug-payload").get("spBv1.0");
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const [direction, text] = line.split(" ");
  const out = direction === "decode" ? payload.decodePayload(Buffer.from(text, "hex")) : payload.encodePayload(JSON.parse(Buffer.from(text, "hex")));
  const plain = (key, value) => (value && value.type === "Buffer" ? Buffer.from(value.data).toString("hex") : value);
  console.log(direction === "decode" ? JSON.stringify(out, plain) : Buffer.from(out).toString("hex"));
});
