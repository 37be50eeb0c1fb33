// A server of HTTP/1 and, at a second port, of HTTP/2 in clear. Says `begun HTTP/1-PORT HTTP/2-PORT`, and `got PATH` for each
// request. It closes no idle connection, and has no handler for any signal.
//
// `/slow` is never answered, `/half` is begun and never ended, `/chunked` comes in pieces, `/self` asks this server itself
// first. All else is answered at once.
'use strict';
const http = require('http');
const http2 = require('http2');

const agent = new http.Agent({ keepAlive: true });

function answer(request, response) {
  console.log(`got ${request.url}`);
  switch (request.url) {
    case '/slow':
      return;
    case '/half':
      response.writeHead(200, { 'content-length': '1000' });
      response.write('half');
      return;
    case '/chunked':
      response.write('one');
      setTimeout(() => response.end('two'), 10);
      return;
    case '/self': {
      const { port } = one.address();
      http.get({ host: '127.0.0.1', port, path: '/inner', agent }, (inner) => {
        inner.resume();
        inner.on('end', () => response.end('ok'));
      });
      return;
    }
    default:
      response.setHeader('content-length', '2');
      response.end('ok');
  }
}

const one = http.createServer({ keepAliveTimeout: 0 }, answer);
const two = http2.createServer(answer);
one.listen(0, '127.0.0.1', () => {
  two.listen(0, '127.0.0.1', () => {
    console.log(`begun ${one.address().port} ${two.address().port}`);
  });
});
