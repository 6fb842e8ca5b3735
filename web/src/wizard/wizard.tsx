// A job in four steps: model, formats, types, review. Each step has an address, so that the browser's back goes back.
import { useState } from 'preact/hooks';
import { get, post, type Format, type Job } from '../api';
import { go, href } from '../route';
import { ProblemNote, Title, useAction, useLoad } from '../ui';
import { change as changeDraft, clear, current, idempotencyKey, request, type Draft } from './draft';
import { ModelStep } from './model';
import { ReviewStep } from './review';
import { TypesStep } from './types';

const titles = ['Which model?', 'Which formats?', 'Which types?', 'Ready?'];
const names = ['Model', 'Formats', 'Types', 'Review'];

// What a step lacks before the next one makes sense; undefined: nothing.
function lacks(step: number, d: Draft): string | undefined {
    if (step >= 1 && !d.model) return 'Choose a model first.';
    if (step >= 2 && d.formats.length === 0) return 'Choose at least one format.';
    if (step >= 3 && d.types.length === 0) return 'Choose at least one type.';
    return undefined;
}

function FormatsStep({ draft, change }: { draft: Draft; change: (part: Partial<Draft>) => void }) {
    const list = useLoad<{ formats: Format[] }>('formats', (signal) => get('/quantize/formats', signal));
    const toggle = (name: string, on: boolean) => change({ formats: on ? [...draft.formats, name] : draft.formats.filter((f) => f !== name) });
    return (
        <fieldset class="formats"><legend class="unseen">Formats</legend>
            <ProblemNote problem={list.problem} />
            {list.data?.formats.map((f) => (
                <label key={f.name} class="check"><input type="checkbox" checked={draft.formats.includes(f.name)} onChange={(e) => toggle(f.name, e.currentTarget.checked)} />
                    <span><strong>{f.title}</strong><br /><span class="quiet">{f.description}</span></span></label>
            ))}
        </fieldset>
    );
}

function Trail({ step, draft }: { step: number; draft: Draft }) {
    return (
        <ol class="wizard-steps" aria-label="Steps">{names.map((name, i) => (
            <li key={name} class={i + 1 === step ? 'now' : i + 1 < step ? 'past' : 'later'} aria-current={i + 1 === step ? 'step' : undefined}>
                {i + 1 < step || !lacks(i, draft) ? <a href={href('new', String(i + 1))}>{i + 1} {name}</a> : <span>{i + 1} {name}</span>}
            </li>
        ))}</ol>
    );
}

export function Wizard({ step: wanted }: { step: number }) {
    const [draft, setDraft] = useState(current());
    const change = (part: Partial<Draft>) => setDraft(changeDraft(part));
    const step = lacks(wanted - 1, draft) ? 1 : wanted;
    const lack = lacks(step, draft);
    const submit = useAction(async () => {
        const job = await post<Job>('/quantize/jobs', request(draft), { 'Idempotency-Key': idempotencyKey() });
        clear();
        go('jobs', job.id);
    });
    const next = (e: Event) => {
        e.preventDefault();
        if (lack) return;
        if (step < 4) go('new', String(step + 1));
        else submit.run();
    };
    return (
        <section class="wizard">
            <p class="trail"><a href="#/jobs">Jobs</a> / new</p>
            <Trail step={step} draft={draft} />
            <Title key={step}>{titles[step - 1]}</Title>
            <div class="step">
                {step === 1 && <ModelStep draft={draft} change={change} />}
                {step === 2 && <FormatsStep draft={draft} change={change} />}
                {step === 3 && <TypesStep draft={draft} change={change} />}
                {step === 4 && <ReviewStep draft={draft} change={change} problem={submit.problem} />}
            </div>
            <ProblemNote problem={submit.problem} />
            <form class="buttons end" onSubmit={next}>
                {lack && <span class="quiet lack" id="lack">{lack}</span>}
                {step > 1 && <a class="button" href={href('new', String(step - 1))}>Back</a>}
                <button type="submit" class="primary" disabled={!!lack || submit.busy} aria-describedby={lack ? 'lack' : undefined}>{step < 4 ? 'Next' : 'Start'}</button>
            </form>
        </section>
    );
}
