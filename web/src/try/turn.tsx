// One turn of a conversation: what was said, each model's answer, and where they part.
import { fixed } from '../format';
import { ProblemNote } from '../ui';
import { going, type Answer, type State } from './answer';
import { chance, parting, type Parting } from './part';

export interface Turn { said: string; answers: (Answer | undefined)[] }

const states: Record<State, string> = {
    waiting: 'waits for the other one', loading: 'loading the model …', reading: 'reading …', writing: 'writing …', ended: '',
    cut: 'cut: the most tokens were reached', full: 'cut: the model’s context is full', stopped: 'stopped', failed: '',
};

const seconds = (s: number) => (s < 10 ? `${fixed(s, 2)} s` : `${fixed(s, 0)} s`);
const speed = (rate: number) => `${rate >= 100 ? rate.toFixed(0) : rate.toFixed(1)} tokens/s`;

function Figures({ a }: { a: Answer }) {
    const parts: string[] = [];
    if (states[a.state]) parts.push(states[a.state]);
    if (a.rate !== null) parts.push(speed(a.rate));
    if (a.tokens.length) parts.push(`${a.tokens.length} tokens`);
    if (a.firstSeconds !== null) parts.push(`the first after ${seconds(a.firstSeconds)}`);
    if (a.promptTokens !== null) parts.push(`prompt of ${a.promptTokens}${a.keptTokens ? `, ${a.keptTokens} of them known from before` : ''}`);
    return <p class="figures quiet">{parts.join(' · ')}</p>;
}

// The text with the place where the other one says something else.
function Says({ text, at, end }: { text: string; at: number | undefined; end: number | undefined }) {
    if (at === undefined || end === undefined) return <div class="says">{text}</div>;
    const start = at + /^\s*/.exec(text.slice(at, end))![0].length, word = text.slice(start, end);
    return (
        <div class="says">{text.slice(0, start)}<mark><span class="unseen"> (here they part: </span>{word || <span class="ends">ends here</span>}<span class="unseen">) </span></mark>{text.slice(end)}</div>
    );
}

export interface Told { label: [string, string]; parting: Parting | null; text: string }

// What there is to say about two answers: nothing while it is open whether they part.
export function compare(answers: (Answer | undefined)[]): Told | null {
    const [a, b] = answers;
    if (!a || !b || !a.text || !b.text) return null;
    const p = parting(a, b), label: [string, string] = a.name === b.name ? ['the first', 'the second'] : [a.name, b.name];
    if (p.same) return going(a) || going(b) ? null : { label, parting: null, text: 'Both answers are the same, to the letter.' };
    if ((going(a) && p.end[0] >= a.text.length) || (going(b) && p.end[1] >= b.text.length)) return null;
    const words = [a.text.slice(p.at[0], p.end[0]).trim(), b.text.slice(p.at[1], p.end[1]).trim()];
    const say = (i: 0 | 1) => {
        const [own, other] = p.tokens ? (i ? [p.tokens[1], p.tokens[0]] : p.tokens) : [null, null];
        const mine = own && chance(own, own.token), theirs = own && chance(own, other.token);
        const gave = mine && theirs ? ` (gave it ${mine}, and “${words[1 - i]}” ${theirs})` : '';
        return words[i] ? `${label[i]} goes on with “${words[i]}”${gave}` : `${label[i]} ends`;
    };
    return { label, parting: p, text: `They part ${p.words === 0 ? 'at the first word' : `after ${p.words} ${p.words === 1 ? 'word' : 'words'}`}: ${say(0)}, ${say(1)}.` };
}

interface Props { turn: Turn; n: number; last: boolean; text: boolean; onAgain: () => void; onText: () => void; onNew: () => void }

export function TurnView({ turn, n, last, text, onAgain, onText, onNew }: Props) {
    const answers = turn.answers.filter((a) => a !== undefined), told = compare(turn.answers);
    const idle = !answers.some(going);
    return (
        <li class="turn">
            <h2 class="unseen">{text ? 'Text' : 'Question'} {n}</h2>
            <div class="said"><span class="unseen">{text ? 'Text: ' : 'You: '}</span>{turn.said}</div>
            <div class={answers.length > 1 ? 'answers two' : 'answers'}>
                {turn.answers.map((a, i) => a && (
                    <article key={i} aria-label={`${a.name}, ${text ? 'text' : 'answer'} ${n}`} aria-busy={going(a)}>
                        <h3>{a.name}</h3>
                        <Says text={a.text} at={told?.parting?.at[i as 0 | 1]} end={told?.parting?.end[i as 0 | 1]} />
                        <ProblemNote problem={a.problem}>
                            {a.problem && last && <p class="buttons">
                                {a.problem.kind === 'unsupported' && !text && <button type="button" onClick={onText}>Continue the text instead of a chat</button>}
                                {a.problem.kind === 'context-full' ? <button type="button" onClick={onNew}>New conversation</button> : <button type="button" onClick={onAgain}>Ask again</button>}
                            </p>}
                        </ProblemNote>
                        <Figures a={a} />
                    </article>
                ))}
            </div>
            {told && <p class="parting">{told.text}</p>}
            {last && idle && !answers.some((a) => a.problem) && <p class="buttons again"><button type="button" class="quiet" onClick={onAgain}>Ask again</button></p>}
        </li>
    );
}
