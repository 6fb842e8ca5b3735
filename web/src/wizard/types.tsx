// Step 2: which types. Of GGUF files a picture of size against loss, what fits where it is to run, and the same as a table; of
// Hugging Face folders a table.
import { useEffect, useState } from 'preact/hooks';
import { get, type EstimateOutput, type QuantType } from '../api';
import { bytes, fixed } from '../format';
import { ProblemNote, useLoad, type Loaded } from '../ui';
import { Budget, HowChosen } from './budget';
import { Calibration } from './calibration';
import type { Draft } from './draft';
import { useAllTypes } from './estimate';
import { Folders } from './folders';
import { Fit, useAdvice, verdicts, WhatFits } from './fit';
import { Ladder, type Rung } from './ladder';
import { divergence, inWords, share, useLosses, type Loss } from './losses';

interface Props { draft: Draft; change: (part: Partial<Draft>) => void }

const usual = ['Q8_0', 'Q6_K', 'Q5_K_M', 'Q4_K_M', 'Q3_K_M', 'Q2_K'];
const presets: [string, string, string[]][] = [
    ['Balanced', 'the usual choice', ['Q4_K_M', 'Q5_K_M']],
    ['Small', 'for little memory', ['Q3_K_M', 'IQ4_XS']],
    ['Best', 'virtually lossless', ['Q6_K', 'Q8_0']],
    ['Compare', 'the six usual types', usual],
];

interface RowProps { type: QuantType; estimate: EstimateOutput | undefined; waiting: boolean; loss: Loss | undefined; fit: Fit | undefined; on: boolean; hot: boolean; setHot: (name?: string) => void; toggle: () => void }

function TypeRow({ type, estimate, waiting, loss, fit, on, hot, setHot, toggle }: RowProps) {
    const size = estimate?.size_bytes, verdict = size === undefined ? undefined : fit?.verdict(type.name, size), layers = verdict === 'no' ? fit?.layers(type.name) : undefined;
    const need = (size !== undefined && fit?.need(type.name, size)) || estimate?.run_memory?.total_bytes;
    const unknown = waiting ? <span class="quiet" aria-label="not known yet">…</span> : '–';
    return (
        <tr class={`${on ? 'on' : ''}${hot ? ' hot' : ''}`} onMouseEnter={() => setHot(type.name)} onMouseLeave={() => setHot()}>
            <th scope="row"><label class="check"><input type="checkbox" checked={on} onChange={toggle} onFocus={() => setHot(type.name)} onBlur={() => setHot()} /> <code>{type.name}</code></label>
                {fit?.best === type.name && <span class="best">best that fits</span>}</th>
            <td class="n">{size === undefined ? unknown : bytes(size)}<span class="sub">{fixed(estimate?.bits_per_weight ?? type.bits_per_weight, 2)} bits/weight</span></td>
            <td class="n memory">{need ? bytes(need) : unknown}</td>
            <td class="n">{loss ? <>{loss.same === null ? '–' : share(loss.same)}<span class="sub">KL {divergence(loss.divergence)}{loss.own && ' ◆'}</span></> : '–'}</td>
            {fit && <td class={`verdict ${verdict ?? ''}`}>{verdict ? <><span aria-hidden="true">{verdicts[verdict].mark}</span> {verdicts[verdict].word}{layers && <span class="sub">{layers}</span>}</> : '–'}</td>}
            <td class="expect">{loss ? inWords(loss) : type.hint}{type.needs_importance && <span class="sub">needs an importance matrix</span>}</td>
        </tr>
    );
}

export function TypesStep({ draft, change }: Props) {
    const types = useLoad<{ types: QuantType[] }>('types', (signal) => get('/quantize/formats/gguf/types', signal));
    const all = types.data?.types ?? [], needs = !draft.byBudget && all.some((t) => t.needs_importance && draft.types.includes(t.name));
    useEffect(() => {
        if (needs && !draft.importance) change({ importance: true });
    }, [needs, draft.importance]);
    return (
        <>
            <HowChosen draft={draft} change={change} />
            {draft.byBudget ? <Budget draft={draft} change={change} /> : <ByName draft={draft} change={change} types={types} />}
            <fieldset class="options"><legend>Options</legend>
                <Calibration draft={draft} change={change} needs={needs} />
                {!draft.byBudget && <label class="check"><input type="checkbox" checked={draft.importance || needs} disabled={needs} onChange={(e) => change({ importance: e.currentTarget.checked, ...(e.currentTarget.checked ? {} : { best: false }) })} />
                    <span>Use an importance matrix <span class="quiet">{needs ? 'a chosen type needs it' : 'a text is run through the model first, so that weights that matter most lose least; helps below 5 bits'}</span></span></label>}
                <label class="check"><input type="checkbox" checked={draft.measure} onChange={(e) => change({ measure: e.currentTarget.checked })} />
                    <span>Measure the loss <span class="quiet">perplexity and KL divergence of each file against the source</span></span></label>
            </fieldset>
        </>
    );
}

function ByName({ draft, change, types }: Props & { types: Loaded<{ types: QuantType[] }> }) {
    const all = types.data?.types ?? [];
    const estimate = useAllTypes(draft, { types: all.map((t) => t.name) });
    const advice = useAdvice(draft);
    const losses = useLosses(draft, all);
    const [hot, setHot] = useState<string>();
    const [every, showEvery] = useState(false);
    const advised = draft.place && advice.data && !advice.problem ? new Fit(advice.data) : undefined;
    // the answer is about files or about folders, as the program wants them
    const fit = draft.program ? undefined : advised, folderFit = draft.program ? advised : undefined;
    const of = new Map(estimate.data?.outputs.map((o) => [o.type, o]));
    const ctx = fit?.ctx() ?? estimate.data?.outputs[0]?.run_memory?.ctx;

    const set = (names: string[]) => {
        const needy = all.some((t) => t.needs_importance && names.includes(t.name));
        change({ types: all.map((t) => t.name).filter((n) => names.includes(n)), ...(needy ? { importance: true } : {}) });
    };
    const toggle = (name: string) => set(draft.types.includes(name) ? draft.types.filter((n) => n !== name) : [...draft.types, name]);

    // The usual six, what is chosen and what is advised come first and are always seen.
    const first = all.filter((t) => usual.includes(t.name) || draft.types.includes(t.name) || t.name === fit?.best).map((t) => t.name);
    const [top, keepTop] = useState<string[]>([]);
    useEffect(() => keepTop((old) => [...new Set([...old, ...first])]), [first.join()]);
    const size = (t: QuantType) => of.get(t.name)?.size_bytes ?? t.bits_per_weight ?? 0;
    const sorted = [...all].sort((a, b) => size(b) - size(a));
    const [upper, rest] = [sorted.filter((t) => top.includes(t.name) || first.includes(t.name)), sorted.filter((t) => !top.includes(t.name) && !first.includes(t.name))];
    const rungs = sorted.flatMap((t): Rung[] => {
        const s = of.get(t.name)?.size_bytes, loss = losses.get(t.name);
        return s && loss ? [{ name: t.name, size: s, loss, usual: usual.includes(t.name), on: draft.types.includes(t.name) }] : [];
    });
    const rows = (list: QuantType[]) => list.map((t) => <TypeRow key={t.name} type={t} estimate={of.get(t.name)} waiting={estimate.loading} loss={losses.get(t.name)} fit={fit}
        on={draft.types.includes(t.name)} hot={hot === t.name} setHot={setHot} toggle={() => toggle(t.name)} />);
    return (
        <>
            <h2>GGUF files <span class="quiet">for llama.cpp, Ollama, LM Studio</span></h2>
            <ProblemNote problem={types.problem ?? estimate.problem}><p><button type="button" onClick={() => (types.reload(), estimate.reload())}>Retry</button></p></ProblemNote>
            <div class="choose">
                <Ladder rungs={rungs} fit={fit} hot={hot} setHot={setHot} toggle={toggle} />
                <div class="beside">
                    <div class="presets" role="group" aria-label="Presets">{presets.map(([name, why, list]) => (
                        <button key={name} type="button" aria-pressed={list.length === draft.types.length && list.every((t) => draft.types.includes(t))} onClick={() => set(list)}><strong>{name}</strong> <span class="quiet">{why}</span></button>
                    ))}</div>
                    <WhatFits draft={draft} change={change} advice={advice} pick={(t) => (draft.program ? change({ folders: [t], types: [] }) : set([t]))} />
                </div>
            </div>
            <div class="scroll" tabIndex={0} role="region" aria-label="Types">
                <table class="ladder-table" aria-busy={estimate.loading}>
                    <thead><tr><th>type</th><th class="n">file size</th><th class="n memory">memory to run{ctx ? <span class="sub">at {ctx} tokens</span> : ''}</th><th class="n">same top token</th>{fit && <th>fit<span class="sub place">{fit.place}</span></th>}<th class="expect">what to expect</th></tr></thead>
                    <tbody>{rows(upper)}</tbody>
                    {every && <tbody id="every-type">{rows(rest)}</tbody>}
                </table>
            </div>
            {rest.length > 0 && <p><button type="button" class="more" aria-expanded={every} onClick={() => showEvery(!every)}>{every ? 'Fewer types' : `All ${all.length} types`}</button></p>}
            <Folders draft={draft} change={change} fit={folderFit} />
        </>
    );
}
