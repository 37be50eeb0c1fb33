// A client of HTTP/2: asks PORT on one connection COUNT times, ten at once, and says `answered COUNT`; then UNANSWERED times
// for what is never answered. It stays until it is killed.
'use strict';
const http2 = require('http2');

const [port, count, unanswered] = process.argv.slice(2).map(Number);
const session = http2.connect(`http://127.0.0.1:${port}`);
session.on('error', () => {});

function ask(path) {
  return new Promise((resolve) => {
    const stream = session.request({ ':path': path });
    stream.on('error', () => {});
    stream.on('end', resolve);
    stream.resume();
    stream.end();
  });
}

async function all() {
  for (let done = 0; done < count; done += 10) {
    const batch = Math.min(10, count - done);
    await Promise.all(Array.from({ length: batch }, () => ask('/ok')));
  }
  console.log(`answered ${count}`);
  for (let index = 0; index < unanswered; index += 1) {
    ask('/slow');
  }
}

all();
