// What a completed job leads to: what was won and lost in one line, the file, and the lines that run it.
import { base, get, type Job, type Output, type QuantType } from './api';
import { bytes } from './format';
import { share, verdict, type Quality } from './quality';
import { href } from './route';
import type { TensorRow } from './tensors';
import { TryLink } from './try/link';
import { Copyable, FolderFiles, useLoad } from './ui';

const widths: Record<string, number> = { f32: 4, f16: 2, bf16: 2, f8_e4m3: 1, f8_e5m2: 1, f64: 8 };

// Bytes of the source's tensors; null where one is of a type whose size is not a whole number of bytes.
export function sourceBytes(tensors: TensorRow[] | undefined): number | null {
    if (!tensors?.length) return null;
    let sum = 0;
    // files and folders name the same weights differently: those of one output are all of them
    const one = Object.keys(tensors[0]!.outputs ?? {})[0];
    for (const t of tensors) {
        if (one !== undefined && !t.outputs[one]) continue;
        const width = widths[String(t.source_type).toLowerCase()];
        if (!width) return null;
        sum += width * t.weights;
    }
    return sum;
}

// "68 % smaller", "2 % larger"; nothing where the source's size is unknown.
export function saving(size: number | null, source: number | null): string {
    if (!size || !source) return '';
    const part = Math.round(100 * (1 - size / source));
    return part > 0 ? `${part} % smaller` : part < 0 ? `${-part} % larger` : 'as large as the source';
}

// One entry for each type: a split file's parts belong together, and the first is the one that programs are given.
export interface Made { type: string; files: Output[]; first: Output; size: number | null }
export function madeOf(job: Job): Made[] {
    const types = new Map<string, Output[]>();
    for (const o of job.outputs) if (o.status === 'completed' && o.url) types.set(o.quant_type, [...(types.get(o.quant_type) ?? []), o]);
    return [...types].map(([type, files]) => ({ type, files, first: files[0]!, size: files.reduce((n, f) => n + (f.file_size ?? 0), 0) || null }));
}

// The smallest of those that are good enough: nine of ten top tokens the same; unmeasured, the usual choice.
export function pick(made: Made[]): Made | undefined {
    const bySize = [...made].sort((a, b) => (a.size ?? 0) - (b.size ?? 0));
    const measured = bySize.filter((m) => m.first.top1_agreement !== null);
    if (measured.length) return measured.find((m) => m.first.top1_agreement! >= 0.9) ?? measured[measured.length - 1];
    return made.find((m) => m.type === 'Q4_K_M') ?? bySize[Math.floor(bySize.length / 2)];
}

export function headline(m: Made, source: number | null): string {
    const parts = [saving(m.size, source) || bytes(m.size)];
    if (m.first.top1_agreement !== null) parts.push(`same top token ${share(m.first.top1_agreement, m.first.top1_agreement > 0.985 ? 1 : 0)}`);
    return `${m.type}: ${parts.join(', ')}`;
}

// The type's programs, as the list of types says.
function RunFolder({ folder, format, type }: { folder: string; format: string; type: string }) {
    const list = useLoad<{ types: QuantType[] }>(`types of ${format}`, (signal) => get(`/quantize/formats/${format}/types`, signal));
    const loaders = list.data?.types.find((t) => t.name === type.replace(/^\w+\//, '').split(':')[0])?.loaders ?? '';
    const unpack = `tar -xf ${word(`${folder}.tar`)}`;
    const python = `from transformers import pipeline; print(pipeline("text-generation", ${JSON.stringify(folder)})("Once upon a time")[0]["generated_text"])`;
    return (
        <details open>
            <summary>Use it, in the folder of the download</summary>
            {loaders && <p class="quiet">Loaded by {loaders}.</p>}
            <div class="ways">
                {(!loaders || /transformers/i.test(loaders)) && <div><h3>transformers</h3><Copyable block label="lines for transformers" text={`${unpack}\npython3 -c ${word(python)}`} /></div>}
                {/vllm/i.test(loaders) && <div><h3>vLLM</h3><Copyable block label="lines for vLLM" text={`${unpack}\nvllm serve ./${word(folder)}`} /></div>}
            </div>
        </details>
    );
}

// A word for a POSIX shell.
const word = (s: string) => (/^[\w@%+=:,./-]+$/.test(s) ? s : `'${s.replaceAll("'", "'\\''")}'`);
const modelName = (file: string) => file.replace(/(-00001-of-\d+)?\.gguf$/i, '').toLowerCase().replace(/[^a-z0-9._-]+/g, '-');

export function Result({ job, tensors, quality, variants, type, onType }: { job: Job; tensors: TensorRow[] | undefined; quality: Map<string, Quality>; variants: Map<string, string>; type: string | undefined; onType: (type: string) => void }) {
    const made = madeOf(job), at = made.find((m) => m.type === type) ?? pick(made);
    if (job.status !== 'completed' || !at) return null;
    const source = sourceBytes(tensors), file = at.first.name, q = quality.get(file);
    const split = at.files.length > 1, folder = at.first.files, name = word(modelName(file));
    return (
        <section class="result" aria-label="Result">
            {made.length > 1 && <div class="tabs" role="group" aria-label="File">{made.map((m) => <button key={m.type} type="button" class={m === at ? 'on' : ''} aria-pressed={m === at} onClick={() => onType(m.type)}>{m.type}</button>)}</div>}
            <h2 class="headline">{headline(at, source)}</h2>
            <p class="quiet">
                {at.first.kld !== null ? <><strong>{verdict(at.first.kld)}</strong>{q?.reference ? ` against ${q.reference.type.toUpperCase()}` : ''}. </> : 'Its loss was not measured. '}
                {bytes(at.size)}{source ? ` of ${bytes(source)}` : ''}{at.first.bits_per_weight !== null && `, ${at.first.bits_per_weight.toFixed(2)} bits per weight`}.
            </p>
            <p class="buttons">
                {at.files.map((f, i) => <a key={f.id} class={i ? 'button' : 'button primary'} href={f.url!} download>{split ? `Download part ${i + 1} of ${at.files.length}` : folder ? `Download ${bytes(f.file_size)} as tar` : `Download ${bytes(f.file_size)}`}</a>)}
                <TryLink button variant={variants.get(file)} name={file} format={at.first.format} />
                {job.model_id && <a class="button" href={href('models', job.model_id)}>In the registry</a>}
                {q && <a class="button" href={`${base}/quantize/jobs/${job.id}/report`} target="_blank" rel="noopener">Quality report</a>}
            </p>
            {folder && <FolderFiles files={folder} />}
            {folder ? <RunFolder folder={file} format={at.first.format} type={at.type} /> : <details open>
                <summary>Run it, in the folder of the download</summary>
                <div class="ways">
                    <div><h3>llama.cpp</h3><Copyable block label="lines for llama.cpp" text={`llama-cli -m ${word(file)} -p "Once upon a time" -n 128\nllama-server -m ${word(file)} --port 8080`} /></div>
                    <div><h3>Ollama</h3>{split ? <p class="quiet">Ollama takes one file: join the parts with <code>llama-gguf-split --merge</code> first.</p>
                        : <Copyable block label="lines for Ollama" text={`echo ${word(`FROM ./${file}`)} > Modelfile\nollama create ${name} -f Modelfile\nollama run ${name} "Once upon a time"`} />}</div>
                </div>
            </details>}
        </section>
    );
}
