// A conversation with a model, or with two side by side: streamed, stopped, compared.
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, type Card } from '../api';
import { bytes, when } from '../format';
import { replaceQuery, type Route } from '../route';
import { ProblemNote, Title, useLoad } from '../ui';
import { ask, going, newAnswer, type Answer, type Said } from './answer';
import { questionOf, SettingsForm, unset, type Settings } from './settings';
import { compare, TurnView, type Turn } from './turn';

// What stays while the person looks at another view.
interface Kept { turns: Turn[]; settings: Settings; text: boolean; together: boolean; draft: string; seed: number }
const newSeed = () => Math.floor(Math.random() * 2 ** 32);
let kept: Kept = { turns: [], settings: unset, text: false, together: false, draft: '', seed: newSeed() };

const keyOf = (c: Card) => c.meta.variant ?? c.id;
const isCalled = (c: Card, name: string) => c.meta.variant === name || c.id === name;

function Pick({ label, value, cards, onChange }: { label: string; value: string; cards: Card[]; onChange: (key: string) => void }) {
    const several = new Set(cards.map((c) => c.id).filter((id, i, all) => all.indexOf(id) !== i));
    return (
        <label class="pick">{label}
            <select value={value} onChange={(e) => onChange(e.currentTarget.value)}>
                {!value && <option value="">choose a model</option>}
                {cards.map((c) => <option key={keyOf(c)} value={keyOf(c)}>{c.id}, {bytes(c.meta.size)}{several.has(c.id) ? `, ${when(new Date(1000 * c.created).toISOString())}` : ''}</option>)}
            </select>
        </label>
    );
}

// The model that the address names, by whatever name; undefined while the list is on its way.
function useCards(names: string[]): { cards: Card[] | undefined; chosen: (Card | undefined)[]; problem: ReturnType<typeof useLoad>['problem'] } {
    const list = useLoad<{ data: Card[] }>('list', (signal) => get('/v1/models', signal)), cards = list.data?.data;
    const others = names.filter((n) => cards && !cards.some((c) => isCalled(c, n)));
    const found = useLoad<Card[]>(others.length ? others.join('\n') : null, (signal) => Promise.all(others.map((n) => get<Card>(`/v1/models/${n.split('/').map(encodeURIComponent).join('/')}`, signal))));
    const chosen = names.map((n) => cards?.find((c) => isCalled(c, n)) ?? (others.includes(n) ? found.data?.[others.indexOf(n)] : undefined));
    return { cards, chosen, problem: list.problem ?? (others.length ? found.problem : undefined) };
}

// What one side has heard and said before a turn; where it was not there yet, what the other one said.
function history(turns: Turn[], side: number, said: string): Said[] {
    const before = turns.flatMap((t): Said[] => {
        const answer = t.answers[side]?.text || t.answers.find((a) => a?.text)?.text;
        return answer ? [{ role: 'user', content: t.said }, { role: 'assistant', content: answer }] : [];
    });
    return [...before, { role: 'user', content: said }];
}

// What is said aloud when all is there: one answer itself, of two where they part.
function spoken(turn: Turn): string {
    const answers = turn.answers.filter((a) => a !== undefined), failed = answers.filter((a) => a.problem).length;
    if (answers.length === 1) return answers[0]!.problem ? '' : `${answers[0]!.name}: ${answers[0]!.text}`;
    return failed ? '' : `Both have answered. ${compare(turn.answers)?.text ?? ''}`;
}

export function TryView({ route }: { route: Route }) {
    const asked = [route.query.get('model') ?? '', route.query.get('beside') ?? ''].filter(Boolean);
    const { cards, chosen, problem } = useCards(asked);
    const newest = cards?.reduce<Card | undefined>((best, c) => (!best || c.created > best.created ? c : best), undefined);
    const sides = asked.length ? chosen : [newest], two = sides.length > 1, ready = sides.every((c) => c !== undefined);
    const [state, setState] = useState(kept), [aloud, setAloud] = useState('');
    const stop = useRef<AbortController | undefined>(undefined), form = useRef<HTMLFormElement>(null), field = useRef<HTMLTextAreaElement>(null), end = useRef<HTMLDivElement>(null);
    const update = (f: (s: Kept) => Partial<Kept>) => setState((s) => (kept = { ...s, ...f(s) }));
    useEffect(() => () => stop.current?.abort(), []);
    const busy = state.turns.some((t) => t.answers.some(going));
    const choose = (i: number, key: string) => {
        const q = new URLSearchParams(route.query), now = sides.map((c) => (c ? keyOf(c) : ''));
        now[i] = key;
        q.set('model', now[0] ?? '');
        if (now[1]) q.set('beside', now[1]);
        else q.delete('beside');
        replaceQuery(q);
    };

    const answer = (index: number, side: number, a: Answer) => update((s) => ({ turns: s.turns.map((t, i) => (i === index ? { ...t, answers: Object.assign([...t.answers], { [side]: a }) } : t)) }));
    const run = async (before: Turn[], said: string, text: boolean) => {
        const mine = (stop.current = new AbortController()), index = before.length;
        const first = sides.map((c) => newAnswer(keyOf(c!), c!.id));
        update(() => ({ turns: [...before, { said, answers: first }], text }));
        setAloud(two ? 'Both are asked.' : `${first[0]!.name} is asked.`);
        const one = async (side: number) => {
            const question = questionOf(first[side]!.model, history(before, side, said), state.settings, text, two, state.seed);
            if (mine.signal.aborted) return answer(index, side, { ...first[side]!, state: 'stopped' });
            await ask(first[side]!, question, mine.signal, (a) => answer(index, side, a));
        };
        // one after the other each has the processor for itself, so that its speed is its own
        if (state.together) await Promise.all(first.map((_, i) => one(i)));
        else for (const i of first.keys()) await one(i);
        if (kept.turns[index]) setAloud(spoken(kept.turns[index]!));
        update(() => ({ seed: newSeed() }));
        if (document.activeElement === document.body) field.current?.focus();
    };
    const send = () => {
        const said = state.draft;
        if (busy || !ready || !(said.trim() || (state.text && state.turns.length)) || !form.current?.reportValidity()) return;
        update(() => ({ draft: '' }));
        run(state.turns, said, state.text);
    };
    const again = (text: boolean) => {
        const last = state.turns[state.turns.length - 1];
        if (last && !busy && ready) run(state.turns.slice(0, -1), last.said, text);
        field.current?.focus();
    };
    const halt = () => {
        stop.current?.abort();
        field.current?.focus();
    };
    const anew = () => {
        halt();
        update(() => ({ turns: [] }));
        setAloud('A new conversation.');
    };
    // the end stays in sight while it grows, unless the person looks at something before it
    const count = state.turns.length, length = state.turns[count - 1]?.answers.reduce((n, a) => n + (a?.text.length ?? 0), 0) ?? 0;
    const atEnd = useRef(true);
    useEffect(() => {
        const look = () => void (atEnd.current = innerHeight + scrollY >= document.documentElement.scrollHeight - 80);
        addEventListener('scroll', look, { passive: true });
        return () => removeEventListener('scroll', look);
    }, []);
    useEffect(() => {
        if (count && atEnd.current) end.current?.scrollIntoView({ block: 'end' });
    }, [count, length]);

    if (cards && cards.length === 0) return <section><Title>Try</Title><p class="empty">There is no model to try yet. <a href="#/new">Quantize a model</a>, or start the service with <code>halftone serve --models FOLDER</code>.</p></section>;
    return (
        <section class="try" aria-busy={!cards && !problem} onKeyDown={(e) => e.key === 'Escape' && busy && halt()}>
            <header class="head"><Title>Try</Title>
                <div class="buttons"><button type="button" disabled={!count} onClick={anew}>New conversation</button></div></header>
            <ProblemNote problem={problem} />
            {cards && <div class="picks">
                <Pick label="Model" value={sides[0] ? keyOf(sides[0]) : ''} cards={sides[0] && !cards.includes(sides[0]) ? [...cards, sides[0]] : cards} onChange={(key) => choose(0, key)} />
                {two ? <>
                    <Pick label="Beside it" value={sides[1] ? keyOf(sides[1]) : ''} cards={sides[1] && !cards.includes(sides[1]) ? [...cards, sides[1]] : cards} onChange={(key) => choose(1, key)} />
                    <button type="button" disabled={busy} onClick={() => choose(1, '')}>One alone</button>
                </> : <button type="button" disabled={busy || !sides[0]} onClick={() => choose(1, keyOf(cards.find((c) => c !== sides[0]) ?? sides[0]!))}>Two side by side</button>}
            </div>}
            <ol class="talk" aria-label="Conversation">{state.turns.map((t, i) => (
                <TurnView key={i} turn={t} n={i + 1} last={i === count - 1} text={state.text} onAgain={() => again(state.text)} onText={() => again(true)} onNew={anew} />
            ))}</ol>
            <form ref={form} class="composer" onSubmit={(e) => { e.preventDefault(); send(); }}>
                <label><span class="unseen">{state.text ? 'Text to continue' : 'Message'}</span>
                    <textarea ref={field} rows={3} aria-describedby="composer-keys" placeholder={state.text ? (count ? 'goes on with the text, or with what you add' : 'the beginning of a text') : 'say something'} value={state.draft}
                        onInput={(e) => update(() => ({ draft: (e.target as HTMLTextAreaElement).value }))}
                        onKeyDown={(e) => { if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); } }} /></label>
                <div class="composer-row">
                    <small id="composer-keys" class="quiet">Enter sends, Shift+Enter begins a line, Escape stops.</small>
                    {busy ? <button type="button" class="danger" onClick={halt}>Stop</button>
                        : <button class="primary" disabled={!ready}>{state.text ? 'Continue' : 'Send'}</button>}
                </div>
                <details>
                    <summary>System prompt and sampling</summary>
                    <fieldset class="modes"><legend class="unseen">What is made</legend>
                        <label class="check"><input type="radio" name="mode" checked={!state.text} onChange={() => update(() => ({ text: false }))} /> A chat, by the model’s template</label>
                        <label class="check"><input type="radio" name="mode" checked={state.text} onChange={() => update(() => ({ text: true }))} /> The text, continued</label>
                        {two && <label class="check"><input type="checkbox" checked={state.together} onChange={(e) => { const on = e.currentTarget.checked; update(() => ({ together: on })); }} /> Both at once: sooner, but their speeds are not their own</label>}
                    </fieldset>
                    <SettingsForm value={state.settings} onChange={(settings) => update(() => ({ settings }))} text={state.text} two={two} />
                </details>
            </form>
            <div ref={end} />
            <p class="unseen" role="status">{aloud}</p>
        </section>
    );
}
