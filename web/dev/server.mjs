// For development only: serves web/dist with a made-up interface, so that every state of the page can be looked at without the
// real server, and states that are hard to provoke are the same each time. Nothing of it is in the program.
//   node dev/server.mjs [PORT] [--still]     --still: nothing moves, for pictures and comparisons
import { createServer } from 'node:http';
import { createReadStream, existsSync } from 'node:fs';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { routes } from './routes.mjs';

const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist');
const port = Number(process.argv[2] ?? 8710);
const content = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.txt': 'text/plain' };
const answer = routes({ still: process.argv.includes('--still') });

createServer((req, res) => {
    const url = new URL(req.url, 'http://x');
    res.setHeader('Content-Security-Policy', "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'");
    if (url.pathname.startsWith('/api/v1/')) return answer(req, res, url);
    const file = join(dist, normalize(url.pathname === '/' ? '/index.html' : url.pathname));
    if (!existsSync(file)) return res.writeHead(404).end();
    res.writeHead(200, { 'Content-Type': content[extname(file)] ?? 'application/octet-stream' });
    createReadStream(file).pipe(res);
}).listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}`));
