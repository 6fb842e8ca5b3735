// The frame: header, views, and the login when the server asks for a token.
import { useEffect, useState } from 'preact/hooks';
import { onUnauthorized } from './api';
import { Mark } from './dots';
import { Jobs } from './jobs';
import { start, watch, type Connection } from './live';
import { Login } from './login';
import { href, useRoute, type Route } from './route';
import { ThemeSwitch } from './theme';

const places: [string, string][] = [['jobs', 'Jobs'], ['models', 'Models'], ['system', 'System']];

function Header({ at, connection }: { at: string; connection: Connection }) {
    return (
        <header class="bar">
            <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById('main')?.focus(); }}>Skip to content</a>
            <a class="home" href={href('jobs')}><Mark /> halftone</a>
            <nav aria-label="Main">
                {places.map(([path, name]) => <a key={path} href={href(path)} aria-current={at === path ? 'page' : undefined}>{name}</a>)}
            </nav>
            <span class={`connection ${connection}`} role="status">{connection === 'lost' ? 'no connection, trying again' : ''}</span>
            <ThemeSwitch />
        </header>
    );
}

function View({ route }: { route: Route }) {
    const [first = 'jobs'] = route.path;
    switch (first) {
        case 'jobs': return <Jobs route={route} />;
        default: return <section><h1>Not here</h1><p>This address leads nowhere. <a href="#/jobs">To the jobs</a></p></section>;
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
