// `halftone serve` in a folder of its own, for a test.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
export const program = resolve(process.env.HALFTONE ?? join(root, 'build/halftone'));
const clean = () => Object.fromEntries(Object.entries(process.env).filter(([k]) => !/^(HALFTONE_|HF_)/.test(k)));

export class Service {
    constructor(models, more = [], environment = {}) {
        this.environment = environment;
        this.data = mkdtempSync(join(tmpdir(), 'halftone-web-'));
        this.arguments = ['serve', '--data', this.data, ...models.flatMap((m) => ['--models', m]), ...more];
        this.port = 0;
    }
    async start() {
        this.process = spawn(program, [...this.arguments, '--port', String(this.port)], { env: { ...clean(), ...this.environment }, stdio: ['ignore', 'pipe', 'inherit'] });
        const lines = createInterface({ input: this.process.stdout });
        const first = await new Promise((done, fail) => (lines.once('line', done), this.process.once('exit', () => fail(new Error('the server did not start')))));
        lines.on('line', () => {});
        this.port = JSON.parse(first).port;
        this.url = `http://127.0.0.1:${this.port}`;
        return this;
    }
    async stop() {
        if (this.process.exitCode !== null) return;
        const ended = new Promise((done) => this.process.once('exit', done));
        this.process.kill('SIGTERM');
        await ended;
    }
    async close() {
        await this.stop();
        rmSync(this.data, { recursive: true, force: true });
    }
    async api(method, path, body) {
        const r = await fetch(`${this.url}/api/v1${path}`, { method, headers: body ? { 'Content-Type': 'application/json' } : {}, body: body && JSON.stringify(body) });
        if (!r.ok) throw new Error(`${method} ${path}: ${r.status} ${await r.text()}`);
        return r.status === 204 ? null : r.json();
    }
    submit(body) {
        return this.api('POST', '/quantize/jobs', body);
    }
    // As long as the job goes on: a machine may be slow, but a minute without any progress is too long.
    async wait(id, good = (job) => ['completed', 'failed', 'cancelled'].includes(job.status)) {
        let seen = '';
        for (let still = 0; still < 600; still++) {
            const job = await this.api('GET', `/quantize/jobs/${id}`);
            if (good(job)) return job;
            const now = JSON.stringify([job.status, job.progress, job.current_step, job.live?.done]);
            if (now !== seen) still = 0;
            seen = now;
            await new Promise((r) => setTimeout(r, 100));
        }
        throw new Error(`job ${id} did not get there: ${seen}`);
    }
}
