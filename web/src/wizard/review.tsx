// Step 3: what will be made, whether it fits on this server, and off it goes.
import type { Estimate, Problem } from '../api';
import { bytes, count, duration } from '../format';
import { ProblemNote, Types, type Loaded } from '../ui';
import { budgetName } from './budget';
import { looksAtText } from './calibration';
import { lastPart, made, type Draft } from './draft';

interface Props { draft: Draft; change: (part: Partial<Draft>) => void; problem: Problem | undefined; estimate: Loaded<Estimate> & { stale: boolean } }

export const seconds = (s: number | null) => (s === null ? 'time not known' : s < 1 ? 'under 1 s' : `about ${duration(s)}`);
export const size = (e: Estimate) => e.outputs.reduce((n, o) => n + o.size_bytes, 0);

function Verdict({ estimate }: { estimate: Estimate }) {
    return (
        <div class={estimate.fits ? 'note good' : 'note bad'}>
            <strong>{estimate.fits ? 'It fits.' : 'It does not fit.'}</strong>
            {estimate.fits && <p>Disk and memory of this server are enough for the whole job.</p>}
            {estimate.reasons.length > 0 && <ul>{estimate.reasons.map((r, i) => <li key={i}>{r}</li>)}</ul>}
        </div>
    );
}

const sources = { local: 'on this server', huggingface: 'from the hub', upload: 'uploaded' };

function Figures({ draft, estimate }: { draft: Draft; estimate: Estimate | undefined }) {
    const s = estimate?.source;
    const look = draft.best ? 'calibration' : draft.importance ? 'importance matrix' : looksAtText(draft) ? 'calibration' : '';
    const steps = [look, draft.measure && 'measuring'].filter(Boolean).join(' and ');
    const text = look && [draft.text.trim() || 'the built-in text', draft.samples && `${draft.samples} samples`, draft.length && `of ${draft.length} tokens`].filter(Boolean).join(', ');
    const rows: [string, preact.ComponentChildren][] = [
        ['model', <>{draft.model} <span class="quiet">{sources[draft.kind]}{s?.architecture && `, ${s.architecture}, ${count(s.parameters)} weights`}</span></>],
        draft.byBudget ? ['budget', budgetName(draft)] : ['types', <Types names={[...draft.types, ...draft.folders]} />],
        ['options', [draft.best ? 'least loss' : draft.importance && 'importance matrix', draft.measure && 'measure the loss'].filter(Boolean).join(', ') || 'none'],
    ];
    if (text) rows.push(['calibration', text]);
    if (estimate) {
        rows.push(['files', <>{bytes(size(estimate))} <span class="quiet">{made(draft)}</span></>]);
        if (estimate.download_bytes > 0) rows.push(['download', bytes(estimate.download_bytes)]);
        rows.push(['disk needed', <>{bytes(estimate.disk_bytes)} <span class="quiet">of {bytes(estimate.disk_free_bytes)} free</span></>]);
        rows.push(['memory needed', <>{bytes(estimate.memory_bytes)} {steps && <span class="quiet">with {steps}{estimate.engine_memory_bytes ? ` (${bytes(estimate.engine_memory_bytes)} to run the model)` : ''}</span>}</>], ['time', seconds(estimate.seconds)]);
    }
    return <dl class="facts">{rows.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>;
}

const at = (problem: Problem | undefined, pointer: string, id: string) => {
    const text = problem?.at(pointer);
    return text ? <span class="wrong" id={id}>{text}</span> : null;
};

export function ReviewStep({ draft, change, problem, estimate }: Props) {
    const { data } = estimate;
    return (
        <>
            <div class="fields">
                <label>Name <input type="text" maxLength={200} value={draft.name} placeholder={lastPart(draft.model)} aria-describedby="bad-name" onInput={(e) => change({ name: e.currentTarget.value })} />{at(problem, '/name', 'bad-name')}</label>
                <label>Description <input type="text" maxLength={4000} value={draft.description} placeholder="optional" onInput={(e) => change({ description: e.currentTarget.value })} />{at(problem, '/description', 'bad-description')}</label>
                <label>Priority <select value={draft.priority} onChange={(e) => change({ priority: Number(e.currentTarget.value) })}>
                    <option value={10}>high</option><option value={0}>normal</option><option value={-10}>low</option></select></label>
            </div>
            <Figures draft={draft} estimate={data} />
            <div aria-live="polite">{estimate.stale && !estimate.problem && <p class="quiet">Estimating disk, memory and time</p>}{data && !estimate.stale && !estimate.problem && <Verdict estimate={data} />}</div>
            {!estimate.loading && <ProblemNote problem={estimate.problem}><p><button type="button" onClick={estimate.reload}>Retry</button></p></ProblemNote>}
        </>
    );
}
