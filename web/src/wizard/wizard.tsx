// A job in three steps: model, types of every format, review. Each step has an address, so that the browser's back goes back.
import { useState } from 'preact/hooks';
import { post, type Estimate, type Job } from '../api';
import { bytes } from '../format';
import { go, href } from '../route';
import { ProblemNote, Title, useAction, type Loaded } from '../ui';
import { asksFor, change as changeDraft, clear, current, idempotencyKey, lastPart, made, request, type Draft } from './draft';
import { useChosen } from './estimate';
import { ModelStep } from './model';
import { ReviewStep, seconds, size } from './review';
import { TypesStep } from './types';

const titles = ['Which model?', 'Which types?', 'Review'];
const names = ['Model', 'Types', 'Review'];
const last = names.length;

// What a step lacks before the next one makes sense; undefined: nothing.
function lacks(step: number, d: Draft): string | undefined {
    if (step >= 1 && !d.model) return 'Choose a model first.';
    if (step >= 2 && !asksFor(d)) return d.byBudget ? 'Say what the budget is.' : 'Choose at least one type.';
    return undefined;
}

function Trail({ step, draft }: { step: number; draft: Draft }) {
    return (
        <ol class="wizard-steps" aria-label="Steps">{names.map((name, i) => {
            const s = i + 1;
            return (
                <li key={s} class={s === step ? 'now' : s < step ? 'past' : 'later'} aria-current={s === step ? 'step' : undefined}>
                    {s < step || !lacks(s - 1, draft) ? <a href={href('new', String(s))}>{s} {name}</a> : <span>{s} {name}</span>}
                </li>
            );
        })}</ol>
    );
}

// What the job makes, in a line that stays in sight: files, bytes, time.
function Summary({ step, draft, chosen }: { step: number; draft: Draft; chosen: Loaded<Estimate> & { stale: boolean } }) {
    if (!draft.model) return <span class="quiet">No model chosen yet</span>;
    if (step < 2) return <><span class="quiet">Model</span> <strong title={draft.model}>{draft.kind === 'local' ? lastPart(draft.model) : draft.model}</strong></>;
    const asked = asksFor(draft), e = chosen.data;
    return (
        <>
            <strong>{made(draft)}</strong>
            {asked && e && !chosen.stale && !chosen.problem && <><span>{bytes(size(e))}</span><span>{seconds(e.seconds)}</span>{!e.fits && <a class="wrong" href={href('new', String(last))}>does not fit</a>}</>}
            {asked && chosen.stale && <span class="quiet">estimating</span>}
            {asked && !chosen.stale && chosen.problem && <span class="quiet">no estimate</span>}
        </>
    );
}

export function Wizard({ step: wanted }: { step: number }) {
    const [draft, setDraft] = useState(current());
    const change = (part: Partial<Draft>) => setDraft(changeDraft(part));
    const step = lacks(wanted - 1, draft) === undefined ? wanted : 1, lack = lacks(step, draft);
    const chosen = useChosen(step > 1 ? draft : { ...draft, types: [], folders: [], byBudget: false });
    const submit = useAction(async () => {
        const job = await post<Job>('/quantize/jobs', request(draft), { 'Idempotency-Key': idempotencyKey() });
        clear();
        go('jobs', job.id);
    });
    const next = (e: Event) => {
        e.preventDefault();
        if (lack) return;
        if (step < last) go('new', String(step + 1));
        else submit.run();
    };
    return (
        <section class={`wizard step-${step}`}>
            <p class="trail"><a href="#/jobs">Jobs</a> / new</p>
            <Trail step={step} draft={draft} />
            <Title key={step}>{titles[step - 1]}</Title>
            <div class="step">
                {step === 1 && <ModelStep draft={draft} change={change} />}
                {step === 2 && <TypesStep draft={draft} change={change} />}
                {step === last && <ReviewStep draft={draft} change={change} problem={submit.problem} estimate={chosen} />}
            </div>
            <ProblemNote problem={submit.problem} />
            <form class="onward" onSubmit={next}>
                <p class="summary" role="status" aria-label="Summary"><Summary step={step} draft={draft} chosen={chosen} /></p>
                {lack && draft.model && <span class="quiet lack" id="lack">{lack}</span>}
                <div class="buttons">
                    {step > 1 && <a class="button" href={href('new', String(step - 1))}>Back</a>}
                    <button type="submit" class="primary" disabled={!!lack || submit.busy} aria-describedby={lack && draft.model ? 'lack' : undefined}>{step < last ? 'Next' : 'Start'}</button>
                </div>
            </form>
        </section>
    );
}
