// HTTPS as Node does it, HTTP/2 and HTTP/1: /quick is answered, /hang is not. server.js PORT CERTIFICATE KEY
const { readFileSync } = require("node:fs");
const [port, cert, key] = process.argv.slice(2);
const options = { allowHTTP1: true, cert: readFileSync(cert), key: readFileSync(key) };
const server = require("node:http2").createSecureServer(options, (request, response) => {
  request.resume();
  request.on("end", () => {
    if (request.url !== "/hang") response.end("done\n");
  });
});
server.on("sessionError", () => {});
server.listen(Number(port), "127.0.0.1");
