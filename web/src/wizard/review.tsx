// Step 4: what would be made, whether it fits, and off it goes.
import { useEffect, useState } from 'preact/hooks';
import { post, type Estimate, type Problem } from '../api';
import { bytes, count, duration } from '../format';
import { ProblemNote, Types, useAction } from '../ui';
import { lastPart, request, type Draft } from './draft';

interface Props { draft: Draft; change: (part: Partial<Draft>) => void; problem: Problem | undefined }

function Verdict({ estimate }: { estimate: Estimate }) {
    return (
        <div class={estimate.fits ? 'note good' : 'note bad'} role="status">
            <strong>{estimate.fits ? 'It fits.' : 'It does not fit.'}</strong>
            {estimate.reasons.length > 0 && <ul>{estimate.reasons.map((r, i) => <li key={i}>{r}</li>)}</ul>}
        </div>
    );
}

function Figures({ draft, estimate }: { draft: Draft; estimate: Estimate | undefined }) {
    const s = estimate?.source;
    const rows: [string, preact.ComponentChildren][] = [
        ['model', <>{draft.model}{s?.architecture && <span class="quiet"> {s.architecture}, {count(s.parameters)} weights</span>}</>],
        ['types', <Types names={draft.types} />],
        ['options', [draft.importance && 'importance', draft.measure && 'measured'].filter(Boolean).join(', ') || 'none'],
    ];
    if (estimate) {
        rows.push(['files', bytes(estimate.outputs.reduce((n, o) => n + o.size_bytes, 0))]);
        if (estimate.download_bytes > 0) rows.push(['download', bytes(estimate.download_bytes)]);
        rows.push(['disk', <>{bytes(estimate.disk_bytes)} <span class="quiet">of {bytes(estimate.disk_free_bytes)} free</span></>]);
        rows.push(['memory', bytes(estimate.memory_bytes)], ['time', estimate.seconds === null ? 'not known yet' : estimate.seconds < 1 ? 'under 1 s' : `about ${duration(estimate.seconds)}`]);
    }
    return <dl class="facts">{rows.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>;
}

const at = (problem: Problem | undefined, pointer: string, id: string) => {
    const text = problem?.at(pointer);
    return text ? <span class="wrong" id={id}>{text}</span> : null;
};

export function ReviewStep({ draft, change, problem }: Props) {
    const [estimate, setEstimate] = useState<Estimate>();
    const ask = useAction(async () => setEstimate(await post<Estimate>('/quantize/estimate', request(draft))));
    useEffect(() => ask.run(), []);
    return (
        <>
            <div class="fields">
                <label>Name <input type="text" maxLength={200} value={draft.name} placeholder={lastPart(draft.model)} aria-describedby="bad-name" onInput={(e) => change({ name: e.currentTarget.value })} />{at(problem, '/name', 'bad-name')}</label>
                <label>Description <input type="text" maxLength={4000} value={draft.description} placeholder="for people, optional" onInput={(e) => change({ description: e.currentTarget.value })} />{at(problem, '/description', 'bad-description')}</label>
                <label>Priority <select value={draft.priority} onChange={(e) => change({ priority: Number(e.currentTarget.value) })}>
                    <option value={10}>sooner</option><option value={0}>normal</option><option value={-10}>later</option></select></label>
            </div>
            <Figures draft={draft} estimate={estimate} />
            <div aria-live="polite">{ask.busy && <p class="quiet">Asking what it takes…</p>}{estimate && <Verdict estimate={estimate} />}</div>
            <ProblemNote problem={ask.problem} />
        </>
    );
}
