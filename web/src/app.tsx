// The frame: header, views, and the login when the server asks for a token.
import { useEffect, useState } from 'preact/hooks';
import { onUnauthorized } from './api';
import { Mark } from './dots';
import { JobView } from './job';
import { Jobs } from './jobs';
import { LevelsView } from './levels';
import { start, watch, type Connection } from './live';
import { Login } from './login';
import { Compare, Models, ModelView } from './models';
import { href, useRoute, type Route } from './route';
import { SystemView } from './system';
import { ThemeSwitch } from './theme';
import { TryView } from './try/try';
import { Wizard } from './wizard/wizard';

const places: [string, string][] = [['jobs', 'Jobs'], ['models', 'Models'], ['try', 'Try'], ['levels', 'Levels'], ['system', 'System']];

function Header({ at, connection }: { at: string; connection: Connection }) {
    return (
        <header class="bar">
            <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById('main')?.focus(); }}>Skip to content</a>
            <a class="home" href={href('jobs')}><Mark /> halftone</a>
            <nav aria-label="Main">
                {places.map(([path, name]) => <a key={path} href={href(path)} aria-current={at === path ? 'page' : undefined}>{name}</a>)}
            </nav>
            <span class={`connection ${connection}`} role="status">{connection === 'lost' ? 'Connection lost, trying again' : ''}</span>
            <ThemeSwitch />
        </header>
    );
}

function View({ route }: { route: Route }) {
    const [first = 'jobs', second] = route.path;
    switch (first) {
        case 'jobs': return second ? <JobView id={second} /> : <Jobs route={route} />;
        case 'new': return <Wizard step={Math.min(3, Math.max(1, Number(second) || 1))} />;
        case 'models': return second ? <ModelView id={second} /> : <Models route={route} />;
        case 'compare': return <Compare route={route} />;
        case 'try': return <TryView route={route} />;
        case 'levels': return <LevelsView />;
        case 'system': return <SystemView />;
        default: return <section><h1>Page not found</h1><p>There is no such page. <a href="#/jobs">To the jobs</a></p></section>;
    }
}

export function App() {
    const route = useRoute();
    const [locked, setLocked] = useState(false);
    const [connection, setConnection] = useState<Connection>('connecting');
    useEffect(() => {
        onUnauthorized(() => setLocked(true));
        start();
        return watch(setConnection);
    }, []);
    const [first = 'jobs'] = route.path;
    useEffect(() => {
        document.title = `${first[0]?.toUpperCase() ?? ''}${first.slice(1)} – Halftone`;
    }, [first]);
    return (
        <>
            <Header at={first} connection={connection} />
            <main id="main" tabIndex={-1}>
                {locked ? <Login onDone={() => { setLocked(false); start(); }} /> : <View key={route.path.join('/')} route={route} />}
            </main>
        </>
    );
}
