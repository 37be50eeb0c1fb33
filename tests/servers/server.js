// Node's own http server, as people run it; with the argument `http2`, its HTTP/2 server in clear.
'use strict';
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');

const DIR = process.env.LEDGER_DIR;
const ON_TERM = process.env.LEDGER_ON_TERM || 'default';
const PART = 'p'.repeat(1000);

// What frameworks put into every response: Express's name and the headers that helmet sets by default, or a session
// in cookies beside them.
const HELMET = {
  'X-Powered-By': 'Express',
  'Content-Security-Policy': "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';" +
    "frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';" +
    "style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Origin-Agent-Cluster': '?1',
  'Referrer-Policy': 'no-referrer',
  'Strict-Transport-Security': 'max-age=31536000; includeSubDomains',
  'X-Content-Type-Options': 'nosniff',
  'X-DNS-Prefetch-Control': 'off',
  'X-Download-Options': 'noopen',
  'X-Frame-Options': 'SAMEORIGIN',
  'X-Permitted-Cross-Domain-Policies': 'none',
  'X-XSS-Protection': '0',
};
const COOKIES = { ...HELMET, 'Set-Cookie': ['a', 'b', 'c', 'd'].map((name) => `${name}=${name.repeat(1000)}; Path=/`) };
const HEADS = { helmet: HELMET, cookies: COOKIES }[process.env.LEDGER_HEADS] || {};

// One write with O_APPEND, so that lines of several processes never mix.
const event = (word, what = '') => fs.appendFileSync(`${DIR}/events`, `${word} ${what}\n`);
const released = () => fs.existsSync(`${DIR}/release`);
const whenReleased = (then) => {
  if (released()) then();
  else setTimeout(() => whenReleased(then), 5);
};

const IS_HTTP2 = process.argv[2] === 'http2';
const sessions = new Set();
let failing = false;

const server = (IS_HTTP2 ? http2 : http).createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const path = url.pathname;
  const act = url.searchParams.get('do') || 'ok';
  event('got', path);
  response.on('finish', () => event('sent', path));
  for (const [name, value] of Object.entries(HEADS)) response.setHeader(name, value);
  const ok = () => {
    if (failing) response.statusCode = 503;
    response.setHeader('Content-Length', 2);
    response.end('ok');
  };
  const answer = () => {
    switch (act) {
      case 'exit0': process.exit(0); break;
      case 'exit1': process.exit(1); break;
      case 'throw': setImmediate(() => { throw new Error('unhandled'); }); break;
      case 'abort': process.abort(); break;
      case 'hang': whenReleased(ok); break;
      case 'hints':
        response.writeEarlyHints({ link: `</${'s'.repeat(80)}.css>; rel=preload; as=style` });
        whenReleased(ok);
        break;
      case 'block': while (!released()); ok(); break; // the event loop is stuck
      case 'part':
        response.setHeader('Content-Length', 2 * PART.length);
        response.write(PART);
        whenReleased(() => response.end(PART));
        break;
      case 'pieces': { // the head line by line, each in a call of its own
        const lines = Object.entries(HEADS).flatMap(([name, value]) => [value].flat().map((one) => `${name}: ${one}`));
        const head = ['HTTP/1.1 200 OK', ...lines, 'Content-Length: 2', ''];
        for (const line of [...head.map((line) => `${line}\r\n`), 'ok']) request.socket.write(line);
        event('sent', path);
        break;
      }
      case 'chunk':
        response.write(PART);
        whenReleased(() => response.end(PART));
        break;
      case 'sse':
        response.setHeader('Content-Type', 'text/event-stream');
        response.write('data: 1\n\n');
        whenReleased(() => response.end('data: 2\n\n'));
        break;
      case 'big': {
        const body = Buffer.alloc(Number(url.searchParams.get('n')), 'b');
        response.setHeader('Content-Length', body.length);
        response.end(body);
        break;
      }
      case 'none': response.statusCode = 204; response.end(); break;
      case 'same': response.statusCode = 304; response.end(); break;
      default: ok();
    }
  };
  if (url.searchParams.get('do') === 'echo') {
    request.pipe(response);
  } else if (request.method === 'POST') {
    request.resume();
    request.on('end', () => { event('body', path); answer(); });
    request.on('error', () => {});
  } else {
    answer();
  }
});
server.on('upgrade', (request, socket) => {
  event('got', new URL(request.url, 'http://localhost').pathname);
  socket.on('error', () => {});
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
  socket.write('\x81\x05hello');
});
server.on('session', (session) => {
  sessions.add(session);
  session.on('close', () => sessions.delete(session));
  session.on('error', () => {});
});
server.keepAliveTimeout = 600000; // the harness decides when idle connections end
server.requestTimeout = 0;

if (ON_TERM === 'exit') {
  process.on('SIGTERM', () => { event('stopping'); process.exit(0); });
} else if (ON_TERM === 'drain' || ON_TERM === 'fail') {
  process.on('SIGTERM', () => {
    event('stopping');
    failing = ON_TERM === 'fail'; // its database is gone by then
    server.close(() => process.exit(0));
    for (const session of sessions) session.close(); // GOAWAY; its streams may finish
  });
} else if (ON_TERM === 'drain-then-int') {
  process.on('SIGTERM', () => { event('stopping'); server.close(() => process.exit(0)); });
  process.on('SIGINT', () => process.exit(0));
}
// Told to leave in a way of its own: it cuts everybody off, and is gone half a second later.
process.on('SIGUSR2', () => {
  for (const session of sessions) session.destroy();
  setTimeout(() => process.exit(0), 500);
});
server.listen(Number(process.env.LEDGER_PORT), process.env.LEDGER_HOST, () => event('listening'));
