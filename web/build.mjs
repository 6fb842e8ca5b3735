// Builds the page: node build.mjs FOLDER [LIST [DEPFILE]]
// FOLDER gets index.html and assets/NAME-HASH.*; LIST a line "url path <tab> file" for each; DEPFILE what was read.
import * as esbuild from 'esbuild';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const [folder = 'dist', list, depfile] = process.argv.slice(2).map((p) => resolve(p));

// Licences of what is bundled lie beside the bundle, as they ask.
function licences() {
    const one = (name) => {
        const { version, license } = JSON.parse(readFileSync(join(here, 'node_modules', name, 'package.json'), 'utf8'));
        return `${name} ${version} (${license})\n\n${readFileSync(join(here, 'node_modules', name, 'LICENSE'), 'utf8').trim()}\n`;
    };
    const own = 'This page is part of Halftone, under the Apache License 2.0. It contains:\n';
    return [own, one('preact')].join('\n' + '-'.repeat(72) + '\n\n');
}

rmSync(folder, { recursive: true, force: true });
const result = await esbuild.build({
    absWorkingDir: here,
    entryPoints: { page: 'src/main.tsx', style: 'src/style.css', icon: 'src/icon.svg' },
    outdir: join(folder, 'assets'),
    entryNames: '[name]-[hash]',
    bundle: true,
    minify: true,
    metafile: true,
    write: true,
    format: 'esm',
    target: ['chrome110', 'firefox110', 'safari16'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    loader: { '.svg': 'copy' },
    legalComments: 'none',
    logLevel: 'warning',
});
const outputs = Object.keys(result.metafile.outputs).map((p) => resolve(here, p));
const named = (prefix) => '/assets/' + basename(outputs.find((p) => basename(p).startsWith(prefix)));
const html = readFileSync(join(here, 'src/index.html'), 'utf8')
    .replace('{script}', named('page-'))
    .replace('{style}', named('style-'))
    .replace('{icon}', named('icon-'));
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'index.html'), html);
writeFileSync(join(folder, 'licences.txt'), licences());

if (list) {
    const rows = [['/', join(folder, 'index.html')], ['/licences.txt', join(folder, 'licences.txt')]];
    for (const p of outputs) rows.push(['/' + relative(folder, p), p]);
    writeFileSync(list, rows.map((r) => r.join('\t') + '\n').join(''));
}
if (depfile) {
    const read = Object.keys(result.metafile.inputs).map((p) => resolve(here, p));
    read.push(join(here, 'src/index.html'), join(here, 'build.mjs'), join(here, 'package.json'));
    writeFileSync(depfile, `${basename(list)}: ${read.map((p) => p.replaceAll(' ', '\\ ')).join(' ')}\n`);
}
