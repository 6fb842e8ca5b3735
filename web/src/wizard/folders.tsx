// Types of Hugging Face folders: how many bits, who loads them, and the options of those that are chosen.
import { get, type EstimateOutput, type Format, type QuantType, type TypeOption } from '../api';
import { bytes, fixed } from '../format';
import { ProblemNote, useLoad } from '../ui';
import type { Draft } from './draft';
import { useAllTypes, useSettled } from './estimate';
import { verdicts, type Fit } from './fit';

type Options = Record<string, string>;

// "gptq:bits=3,group=64" and back; what is as it would be anyway is left out.
export function parse(text: string): { name: string; options: Options } {
    const [name = '', rest] = text.split(/:(.*)/s);
    return { name, options: Object.fromEntries((rest ?? '').split(',').filter(Boolean).map((o) => o.split(/=(.*)/s).slice(0, 2) as [string, string])) };
}
export function write(type: QuantType, options: Options): string {
    const said = type.options.filter((o) => options[o.name] !== undefined && options[o.name] !== '' && options[o.name] !== o.default).map((o) => `${o.name}=${options[o.name]}`);
    return said.length ? `${type.name}:${said.join(',')}` : type.name;
}

function OptionField({ type, option: o, value, set }: { type: QuantType; option: TypeOption; value: string; set: (value: string) => void }) {
    const label = `${o.name} of ${type.label}`;
    return (
        <label title={o.hint}>{o.name} {o.choices
            ? <select aria-label={label} value={value} onChange={(e) => set(e.currentTarget.value)}>{o.choices.map((c) => <option key={c} value={c}>{c}</option>)}</select>
            : <input type="number" step="any" aria-label={label} min={o.least ?? undefined} max={o.most ?? undefined} value={value} onChange={(e) => e.currentTarget.checkValidity() && set(e.currentTarget.value)} />}
        </label>
    );
}

interface RowProps { type: QuantType; text: string | undefined; estimate: EstimateOutput | undefined; waiting: boolean; fit: Fit | undefined; set: (text: string | undefined) => void }

function FolderRow({ type, text, estimate, waiting, fit, set }: RowProps) {
    const verdict = fit?.known(text ?? type.name);
    const options = parse(text ?? '').options;
    return (
        <tr class={text ? 'on' : ''}>
            <th scope="row"><label class="check"><input type="checkbox" checked={text !== undefined} onChange={() => set(text ? undefined : type.name)} /> <code>{type.label}</code></label>
                {fit?.best === (text ?? type.name) && <span class="best">best that fits</span>}
                <span class="sub">{type.family}</span>
                {text !== undefined && type.options.length > 0 && <span class="type-options" role="group" aria-label={`Options of ${type.label}`}>{type.options.map((o) => (
                    <OptionField key={o.name} type={type} option={o} value={options[o.name] ?? o.default} set={(value) => set(write(type, { ...options, [o.name]: value }))} />
                ))}</span>}</th>
            <td class="n">{estimate ? bytes(estimate.size_bytes) : waiting ? <span class="quiet" aria-label="not known yet">…</span> : '–'}<span class="sub">{fixed(estimate?.bits_per_weight ?? type.bits_per_weight, 2)} bits/weight</span></td>
            <td>{type.loaders}{verdict && <span class={`sub verdict ${verdict}`}><span aria-hidden="true">{verdicts[verdict].mark}</span> {verdicts[verdict].word}, {fit!.place}</span>}</td>
            <td class="expect">{type.hint}{type.levels && <span class="sub"><code>{type.levels}</code></span>}</td>
        </tr>
    );
}

export function Folders({ draft, change, fit }: { draft: Draft; change: (part: Partial<Draft>) => void; fit: Fit | undefined }) {
    const formats = useLoad<{ formats: Format[] }>('formats', (signal) => get('/quantize/formats', signal));
    const containers = formats.data?.formats.filter((f) => f.folder) ?? [], container = containers.find((f) => f.name === draft.container) ?? containers[0];
    const types = useLoad<{ types: QuantType[] }>(container ? `types of ${container.name}` : null, (signal) => get(`/quantize/formats/${container!.name}/types`, signal));
    const all = types.data?.types ?? [];
    const text = (t: QuantType) => draft.folders.find((f) => parse(f).name === t.name);
    // sizes of ladders depend on the weights, which are read for them: only where one is chosen
    const asked = useSettled(all.filter((t) => text(t) || !t.levels).map((t) => text(t) ?? t.name).join(' '), 250).split(' ').filter(Boolean);
    const estimate = useAllTypes(draft, { folders: asked });
    const of = new Map(estimate.data?.outputs.map((o) => [o.type, o]));
    const set = (type: QuantType, to: string | undefined) => {
        const others = draft.folders.filter((f) => parse(f).name !== type.name), next = to === undefined ? others : [...others, to];
        change({ folders: all.flatMap((t) => next.filter((f) => parse(f).name === t.name)) });
    };
    const problem = formats.problem ?? types.problem;
    if (!all.length && !problem) return null;
    return (
        <section class="folders" aria-label="Hugging Face folders">
            <h2>Hugging Face folders <span class="quiet">for transformers, vLLM and others</span></h2>
            <ProblemNote problem={problem}><p><button type="button" onClick={() => (formats.problem ? formats : types).reload()}>Retry</button></p></ProblemNote>
            {container && containers.length > 1 && <p><label>Weights in <select value={container.name} onChange={(e) => change({ container: e.currentTarget.value })}>{containers.map((f) => <option key={f.name} value={f.name}>{f.name}</option>)}</select></label> <span class="quiet">{container.description}</span></p>}
            {all.length > 0 && <div class="scroll" tabIndex={0} role="region" aria-label="Types of folders">
                <table class="folder-table" aria-busy={estimate.loading}>
                    <thead><tr><th>type</th><th class="n">size</th><th>loaded by</th><th class="expect">what it is</th></tr></thead>
                    <tbody>{all.map((t) => <FolderRow key={t.name} type={t} text={text(t)} estimate={of.get(text(t) ?? t.name)} waiting={estimate.loading} fit={fit} set={(to) => set(t, to)} />)}</tbody>
                </table>
            </div>}
            {draft.folders.length > 0 && <label class="rules">Rules for single parts, one a line: what each of them is stored as instead, or <code>none</code>
                <textarea rows={3} spellcheck={false} maxLength={4000} placeholder={'attention=w8a16\nfirst:2=none'} value={draft.rules} onInput={(e) => change({ rules: e.currentTarget.value })} /></label>}
            {estimate.problem && <p class="quiet">Sizes are not known: {estimate.problem.detail || estimate.problem.title}</p>}
        </section>
    );
}
