"""
The corpus: requests byte by byte, and what must come of each.

A case is (name, steps, outcome[, check]). Steps are bytes to send, (bytes,) to send one by one, seconds to wait, FIN
(half close), RST, or "100" (an interim answer to wait for). The outcome lists the statuses of the answers and what becomes of the connection: "200 open", "400 closed", "closed" (no answer).
`open` is proved by one more request on the connection, which must get its own answer: a byte too many or too few
would spoil it. `check` is text that the last answer must have in its body, or a function of that answer.

Cases of GENERAL hold for any server behind the adapter; {GET} stands for a path that it answers with 200. The rest
need tests/server/http_echo_main.c with header=1 body=1 idle=2 max_body=65536.
"""
FIN, RST = "fin", "rst"
HOST = b"Host: localhost\r\n"


def get(target, *headers, version=b"HTTP/1.1", method=b"GET", host=HOST, end=b"\r\n"):
    return method + b" " + target + b" " + version + b"\r\n" + host + b"".join(h + b"\r\n" for h in headers) + end


def post(target, body, *headers, **more):
    return get(target, b"Content-Length: %d" % len(body), *headers, method=b"POST", **more) + body


def chunked(body, *headers, target=b"/echo", **more):
    return get(target, b"Transfer-Encoding: chunked", *headers, method=b"POST", **more) + body


G = b"{GET}"
GENERAL = []
ECHO = []


def general(name, steps, outcome, check=None):
    GENERAL.append((name, steps if isinstance(steps, list) else [steps], outcome, check))


def echo(name, steps, outcome, check=None):
    ECHO.append((name, steps if isinstance(steps, list) else [steps], outcome, check))


# -- Request lines. --
general("plain GET", get(G), "200 open")
general("HTTP/1.1 with Connection: close", get(G, b"Connection: close"), "200 closed")
general("Connection: Close in capitals", get(G, b"Connection: CLOSE"), "200 closed")
general("Connection: keep-alive", get(G, b"Connection: keep-alive"), "200 open")
general("Connection: a list with close", get(G, b"Connection: x, close"), "200 closed")
general("HTTP/1.0", get(G, version=b"HTTP/1.0"), "200 closed")
echo("HTTP/1.0 without Host", get(b"/hello", version=b"HTTP/1.0", host=b""), "200 closed")
general("HTTP/1.0 keep-alive", get(G, b"Connection: keep-alive", version=b"HTTP/1.0"), "200 open")
general("HTTP/1.2 is served as 1.1", get(G, version=b"HTTP/1.2"), "200 open")
general("HTTP/2.0", get(G, version=b"HTTP/2.0"), "505 closed")
general("HTTP/3.1", get(G, version=b"HTTP/3.1"), "505 closed")
general("HTTP/0.9", get(G, version=b"HTTP/0.9"), "505 closed")
general("no version", b"GET " + G + b"\r\n" + HOST + b"\r\n", "400 closed")
general("no target", b"GET\r\n" + HOST + b"\r\n", "400 closed")
general("no target but a space", b"GET \r\n" + HOST + b"\r\n", "400 closed")
for v in (b"http/1.1", b"HTTP/1.1x", b"HTTP/11", b"HTTP/1,1", b"HTTP/1.", b"HTTP/ 1.1", b"HTTPS/1.1", b"HTTP/+1.1",
          b"HTTP/1.10", b"XTTP/1.1"):
    general("version " + v.decode(), get(G, version=v), "400 closed")
general("blank line first", b"\r\n" + get(G), "200 open")
general("three blank lines first", b"\r\n\r\n\r\n" + get(G), "200 open")
general("two spaces before the target", b"GET  " + G + b" HTTP/1.1\r\n" + HOST + b"\r\n", "400 closed")
general("two spaces before the version", b"GET " + G + b"  HTTP/1.1\r\n" + HOST + b"\r\n", "400 closed")
general("space after the version", b"GET " + G + b" HTTP/1.1 \r\n" + HOST + b"\r\n", "400 closed")
general("tab for a space", b"GET\t" + G + b"\tHTTP/1.1\r\n" + HOST + b"\r\n", "400 closed")
general("tab before the version", b"GET " + G + b"\tHTTP/1.1\r\n" + HOST + b"\r\n", "400 closed")
general("space before the method", b" GET " + G + b" HTTP/1.1\r\n" + HOST + b"\r\n", "400 closed")
general("garbage", b"\x01\x02\x03\x04\r\n\r\n", "400 closed")
general("a TLS hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\r\n\r\n", "400 closed")
general("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 closed")
for m in (b"G(T", b"G{T", b"G\x01T", b"G\x7fT", b"G\xe9T", b"G:T", b"G\"T", b"G/T", b"@", b"GET,", b"<GET>"):
    general("method %r" % m, get(G, method=m), "400 closed")
general("NUL in the method", get(G, method=b"GE\0T"), "400 closed")
general("NUL in the target", get(G + b"\0x"), "400 closed")
general("NUL in the version", get(G, version=b"HTTP/1.1\0"), "400 closed")
general("CONNECT", get(b"localhost:80", method=b"CONNECT"), "400 closed")
general("CONNECT with a path", get(G, method=b"CONNECT"), "501 closed")
general("TRACE", get(G, method=b"TRACE"), "501 closed")
general("method of 4000 letters", get(G, b"Connection: close", method=b"A" * 20000), "414 closed")
general("bare LF everywhere", get(G).replace(b"\r\n", b"\n"), "400 closed")
general("bare LF after the request line", get(G).replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"), "400 closed")
general("bare LF after a header", get(G, b"X: 1").replace(b"X: 1\r\n", b"X: 1\n"), "400 closed")
general("bare LF at the head's end", get(G, end=b"\n"), "400 closed")
general("bare CR at a line's end", b"GET " + G + b" HTTP/1.1\r" + HOST + b"\r\n", "400 closed")
general("CR CR LF", get(G, b"X: 1\r"), "400 closed")
general("bare CR in a value", get(G, b"X: a\rb"), "400 closed")
general("CR LF in a target by escapes", get(G + b"%0d%0aX:1"), "400 closed")

# -- Targets. --
for t in (b"/a/../b", b"/..", b"/../", b"/a/..", b"/%2e%2e/x", b"/a/%2E%2E/b", b"/.%2e/", b"/%2e./", b"//", b"/a//b",
          b"/a/./b", b"/.", b"/a/.", b"/%2e/", b"/%00", b"/a%00b", b"/%0a", b"/%0d", b"/%1f", b"/%7f", b"/%09", b"/%", b"/%4",
          b"/%zz", b"/%g1", b"/%1g", b"/%-1", b"/%u0041", b"/%c0%ae%c0%ae/", b"/%ff", b"/%ed%a0%80", b"/%f5%80%80%80", b"/%c3",
          b"/a%2f..%2fb", b"/a%2f%2fb", b"/..%2f", b"/\xc3\xa9", b"/a#b", b"/a\\b", b"/a\x01b", b"/a\x7fb", b"*", b"a",
          b"localhost", b"?a=1", b"http:/x", b"https://localhost/", b"ftp://localhost/", b"file:///etc/passwd",
          b"http://evil/", b"http://localhost:1/", b"http://a@localhost/", b"http://localhost", b"http://", b"HTTP:///",
          b"/?%", b"/?a=%4", b"/?a=%zz", b"/?a=%00", b"/?%00=1", b"/?a=%ff", b"/?a=%1b", b"/?a=\xff", b"/?a=b#c",
          b"/?" + b"&".join(b"a" for _ in range(129))):
    general("target " + ascii(t)[2:50], get(t), "400 closed")
general("absolute target", get(b"http://localhost" + G), "200 open")
general("absolute target, capitals", get(b"HTTP://LOCALHOST" + G), "200 open")
general("OPTIONS *", get(b"*", method=b"OPTIONS"), "400 closed")
general("target with a query", get(G + b"?a=1&b=%20&&c"), "200 open")
general("target of 20,000 letters", get(G + b"?" + b"a" * 20000), "414 closed")
general("target with a space", get(G + b"?a b"), "400 closed")
echo("path as it is", get(b"/a/b.c"), "200 open", "path /a/b.c\n")
echo("path decoded once", get(b"/%252e%252e/%2541"), "200 open", "path /%2e%2e/%41\n")
echo("path in UTF-8", get(b"/%C3%A9"), "200 open", "path /\u00e9\n")
echo("dots that are names", get(b"/..a/b../...x"), "200 open", "path /..a/b../...x\n")
echo("three dots", get(b"/.../"), "200 open", "path /.../\n")
echo("trailing slash", get(b"/a/"), "200 open", "path /a/\n")
echo("root", get(b"/"), "200 open", "path /\n")
echo("escaped slash", get(b"/a%2fb"), "200 open", "path /a/b\n")
echo("plus in a path stays", get(b"/a+b"), "200 open", "path /a+b\n")
echo("plus in a query is a space", get(b"/q?a+b=c+d%2B"), "200 open", "query [a b]=[c d+]\n")
echo("query decoded once", get(b"/q?a=%2526"), "200 open", "query [a]=[%26]\n")
echo("query with escaped separators", get(b"/q?a%3D=%26"), "200 open", "query [a=]=[&]\n")
echo("query of empty pieces", get(b"/q?&&=&a&b="), "200 open", "query []=[]\nquery [a]=[]\nquery [b]=[]\n")
echo("query with a second ?", get(b"/q?a=?b"), "200 open", "query [a]=[?b]\n")
echo("query with a line", get(b"/q?a=%0A"), "200 open", "query [a]=[\n]\n")
for n in (129, 300, 1000):
    general("%d arguments" % n, get(G + b"?" + b"&".join(b"a%d=1" % i for i in range(n))), "400 closed", "more than 128 parameters")
general("300 arguments that are empty", get(G + b"?" + b"&" * 300), "200 open")
echo("128 pairs", get(b"/q?" + b"&".join(b"a=%d" % i for i in range(128))), "200 open", "query [a]=[127]\n")
echo("6,000 letters of query", get(b"/q?a=" + b"x" * 6000), "200 open", "x" * 6000)
echo("method in small letters", get(b"/e", method=b"get"), "200 open", "method get\n")
echo("method of its own", get(b"/e", method=b"M-SEARCH"), "200 open", "method M-SEARCH\n")

# -- Headers. --
general("no Host", get(G, host=b""), "400 closed")
general("two Hosts", get(G, b"Host: other"), "400 closed")
general("two Hosts alike", get(G, b"Host: localhost"), "400 closed")
for h in (b"", b" ", b"a,b", b"a b", b"a/b", b"a@b", b"a:b", b"a:1:2", b"a:123456", b"[::1", b"::1", b"[g]", b"a?b", b"a#b",
          b"a%41", b"a\\b", b"a;b", b"<a>", b"a'b", b"\xc3\xa9", b"a\tb", b"[]x", b":80", b"http://a"):
    general("Host %r" % h, get(G, host=b"Host: " + h + b"\r\n"), "400 closed")
general("space before the colon", get(G, host=b"Host : localhost\r\n"), "400 closed")
general("tab before the colon", get(G, host=b"Host\t: localhost\r\n"), "400 closed")
general("line without a colon", get(G, b"nonsense"), "400 closed")
general("empty name", get(G, b": x"), "400 closed")
for n in (b"X Y", b"X\x01", b"X\x7f", b"X\xe9", b"X(", b"X,Y", b"X/Y", b"X\"", b"X[", b"X@", b"X="):
    general("name %r" % n, get(G, n + b": 1"), "400 closed")
general("NUL in a name", get(G, b"X\0Y: 1"), "400 closed")
general("NUL in a value", get(G, b"X: a\0b"), "400 closed")
general("NUL at a value's end", get(G, b"X: a\0"), "400 closed")
general("only NUL", get(G, b"X: \0"), "400 closed")
for c in (1, 7, 8, 11, 12, 14, 27, 31, 127):
    general("byte %d in a value" % c, get(G, b"X: a" + bytes([c]) + b"b"), "400 closed")
general("tab in a value", get(G, b"X: a\tb"), "200 open")
general("high bytes in a value", get(G, b"X: \xc3\xa9\xff"), "200 open")
general("folded with a space", get(G, b"X: a\r\n b"), "400 closed")
general("folded with a tab", get(G, b"X: a\r\n\tb"), "400 closed")
general("folded to nothing", get(G, b"X: a\r\n "), "400 closed")
general("folded twice", get(G, b"X: a\r\n b\r\n c"), "400 closed")
general("folded with nothing before", get(G, b" X: a"), "400 closed")
general("folded Host", get(G, host=b"Host:\r\n localhost\r\n"), "400 closed")
general("folded first line", b"GET " + G + b" HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n", "400 closed")
general("folded last line", b"GET " + G + b" HTTP/1.1\r\n" + HOST + b" \r\n\r\n", "400 closed")
general("100 headers", get(G, *[b"X-%d: 1" % i for i in range(99)]), "200 open")
general("101 headers", get(G, *[b"X-%d: 1" % i for i in range(100)]), "431 closed")
general("1,000 headers", get(G, *[b"X-%d: 1" % i for i in range(1000)]), "431 closed")
general("8 KiB in a header", get(G, b"X: " + b"a" * 8000), "200 open")
general("20,000 bytes in a header", get(G, b"X: " + b"a" * 20000), "431 closed")
general("20,000 bytes in a name", get(G, b"a" * 20000 + b": 1"), "431 closed")
general("Expect of another kind", get(G, b"Expect: 200-ok"), "417 closed")
general("Upgrade is not followed", get(G, b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"), "200 open")
for n in (b"Authorization", b"Content-Type", b"Origin", b"Range", b"If-Range", b"Sec-Fetch-Site", b"Last-Event-ID",
          b"Idempotency-Key", b"Expect"):
    general("two of " + n.decode(), get(G, n + b": a", n.lower() + b": b"), "400 closed")
general("two of another header", get(G, b"Accept: a", b"Accept: b"), "200 open")
echo("Host with a port", get(b"/e", host=b"Host: a-b.c_d:8080\r\n"), "200 open", "header Host: [a-b.c_d:8080]\n")
echo("Host in IPv6", get(b"/e", host=b"Host: [::1]:80\r\n"), "200 open", "header Host: [[::1]:80]\n")
echo("Host with white space around", get(b"/e", host=b"Host: \t a \t \r\n"), "200 open", "header Host: [a]\n")
echo("Host without a space", get(b"/e", host=b"hOsT:a\r\n"), "200 open", "header Host: [a]\n")
echo("empty value", get(b"/e", b"X-Test:"), "200 open", "header X-Test: []\n")
echo("value of white space", get(b"/e", b"X-Test: \t "), "200 open", "header X-Test: []\n")
echo("value with colons", get(b"/e", b"X-Test: a: b:c"), "200 open", "header X-Test: [a: b:c]\n")
echo("first of two", get(b"/e", b"X-Test: 1", b"x-test: 2"), "200 open", "header X-Test: [1]\n")
echo("a cookie", get(b"/e", b"Cookie: a=b; c=d; e=f"), "200 open", "cookie [d]\n")
echo("a cookie in the second header", get(b"/e", b"Cookie: a=b", b"Cookie: c=d"), "200 open", "cookie [d]\n")
echo("a quoted cookie", get(b"/e", b'Cookie: c="d"'), "200 open", "cookie [d]\n")

# -- Framing. --
EVIL = b"GET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n"
general("CL and TE", get(G, b"Content-Length: 5", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n" + EVIL, "400 closed")
general("TE and CL", get(G, b"Transfer-Encoding: chunked", b"Content-Length: 5", method=b"POST") + b"0\r\n\r\n" + EVIL, "400 closed")
general("TE and CL on GET", get(G, b"Transfer-Encoding: chunked", b"Content-Length: 0") + b"0\r\n\r\n" + EVIL, "400 closed")
general("two CL", get(G, b"Content-Length: 5", b"Content-Length: 50", method=b"POST") + b"12345" + EVIL, "400 closed")
general("two CL alike", get(G, b"Content-Length: 5", b"Content-Length: 5", method=b"POST") + b"12345" + EVIL, "400 closed")
general("two CL, other case", get(G, b"content-length: 0", b"CONTENT-LENGTH: 5", method=b"POST") + b"12345" + EVIL, "400 closed")
for v in (b"5, 5", b"5,6", b"+5", b"-5", b"-0", b"0x5", b"5.0", b"5;", b"5 5", b"", b"five", b"5 ", b"\t5\t", b"1e1", b"\xb2"):
    general("CL %r" % v, get(G, b"Content-Length: " + v, method=b"POST") + b"12345" + EVIL, "400 closed")
general("CL of 19 digits", get(G, b"Content-Length: 9999999999999999999", method=b"POST") + EVIL, "400 closed")
general("CL of 2^64", get(G, b"Content-Length: 18446744073709551616", method=b"POST") + EVIL, "400 closed")
general("CL of 2^64-1", get(G, b"Content-Length: 18446744073709551615", method=b"POST") + EVIL, "400 closed")
general("CL of 40 digits", get(G, b"Content-Length: " + b"9" * 40, method=b"POST") + EVIL, "400 closed")
general("folded CL", get(G, b"Content-Length: 0\r\n 5", method=b"POST") + b"12345" + EVIL, "400 closed")
general("CL with a NUL", get(G, b"Content-Length: 0\0", method=b"POST") + EVIL, "400 closed")
for v in (b"xchunked", b"chunked, chunked", b"gzip, chunked", b"chunked, identity", b"identity", b"gzip", b"", b"chunked,",
          b", chunked", b'"chunked"', b"chunked;q=1", b"chunked ", b"chunked\t", b"chun ked", b"\x0bchunked", b"chunked\x00",
          b"deflate", b"[chunked]", b"chunked\r\n x"):
    general("TE %r" % v, get(G, b"Transfer-Encoding: " + v, method=b"POST") + b"0\r\n\r\n" + EVIL, "400 closed")
general("two TE", get(G, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n" + EVIL, "400 closed")
general("two TE, one identity", get(G, b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\n\r\n" + EVIL, "400 closed")
general("TE with a space before the colon", get(G, b"Transfer-Encoding : chunked", method=b"POST") + b"0\r\n\r\n" + EVIL, "400 closed")
general("TE in HTTP/1.0", get(G, b"Transfer-Encoding: chunked", method=b"POST", version=b"HTTP/1.0") + b"0\r\n\r\n" + EVIL, "400 closed")
echo("CL 0", post(b"/e", b""), "200 open", "body 0\n")
echo("CL with zeros before", get(b"/e", b"Content-Length: 0005", method=b"POST") + b"12345", "200 open", "body 5\n12345")
echo("POST without either", get(b"/e", method=b"POST"), "200 open", "body 0\n")
echo("GET with a body", get(b"/e", b"Content-Length: 5") + b"12345", "200 open", "body 5\n12345")
echo("DELETE with a body", get(b"/e", b"Content-Length: 5", method=b"DELETE") + b"12345", "200 open", "body 5\n12345")
echo("HEAD with a body", [get(b"/e", b"Content-Length: 5", method=b"HEAD") + b"12345"], "200 open")
echo("body that looks like a request", post(b"/e", EVIL) , "200 open", "GET /evil")
echo("TE Chunked in capitals", get(b"/e", b"Transfer-Encoding: CHUNKED", method=b"POST") + b"1\r\nx\r\n0\r\n\r\n", "200 open", "body 1\nx")
echo("a name that is almost TE", get(b"/e", b"Transfer_Encoding: chunked", b"Content-Length: 3", method=b"POST") + b"abc", "200 open", "body 3\nabc")
echo("body with NULs", post(b"/e", b"a\0b\0"), "200 open", "body 4\na\0b\0")

# -- Chunks. --
echo("one chunk", chunked(b"5\r\nhello\r\n0\r\n\r\n"), "200 open", "body 5\nhello")
echo("no chunk", chunked(b"0\r\n\r\n"), "200 open", "body 0\n")
echo("three chunks", chunked(b"1\r\na\r\n2\r\nbc\r\nA\r\n0123456789\r\n0\r\n\r\n"), "200 open", "body 13\nabc0123456789")
echo("size in small letters", chunked(b"a\r\n0123456789\r\n0\r\n\r\n"), "200 open", "body 10\n")
echo("size with zeros before", chunked(b"00005\r\nhello\r\n000\r\n\r\n"), "200 open", "body 5\nhello")
echo("chunk extension", chunked(b"5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n"), "200 open", "body 5\nhello")
echo("trailers", chunked(b"5\r\nhello\r\n0\r\nX-Test: 1\r\nY: 2\r\n\r\n"), "200 open", "body 5\nhello")
echo("trailers frame nothing", chunked(b"5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: x\r\n\r\n"), "200 open", "header Host: [localhost]")
echo("chunks byte by byte", [(chunked(b"3\r\nabc\r\n0\r\n\r\n"),)], "200 open", "body 3\nabc")
echo("chunk after chunk in time", [chunked(b"1\r\na\r\n"), 0.2, b"1\r\nb\r\n", 0.2, b"0\r\n\r\n"], "200 open", "body 2\nab")
echo("chunk of the largest body", chunked(b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n"), "200 open", "body 65536\n")
echo("chunked GET", get(b"/e", b"Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n", "200 open", "body 1\nx")
echo("chunks, then the next request", chunked(b"0\r\n\r\n") + get(b"/next"), "200 200 open", "path /next")
for name, body in (("size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"), ("size with +", b"+5\r\nhello\r\n0\r\n\r\n"),
                   ("size with -", b"-5\r\nhello\r\n0\r\n\r\n"), ("size with a space before", b" 5\r\nhello\r\n0\r\n\r\n"),
                   ("size with a space after", b"5 \r\nhello\r\n0\r\n\r\n"), ("no size", b"\r\nhello\r\n0\r\n\r\n"),
                   ("only an extension", b";a\r\nhello\r\n0\r\n\r\n"), ("size of letters", b"xyz\r\nhello\r\n0\r\n\r\n"),
                   ("size with a comma", b"5,5\r\nhello\r\n0\r\n\r\n"), ("size with a NUL", b"5\0\r\nhello\r\n0\r\n\r\n"),
                   ("chunk too long", b"4\r\nhello\r\n0\r\n\r\n"), ("chunk without CR LF", b"5\r\nhello0\r\n\r\n"), ("CR alone after a chunk", b"5\r\nhello\r0\r\n\r\n"),
                   ("size in two", b"5 5\r\nhello\r\n0\r\n\r\n"), ("tab after the size", b"5\t\r\nhello\r\n0\r\n\r\n"),
                   ("underscore in the size", b"0_5\r\nhello\r\n0\r\n\r\n"),
                   ("trailer without a colon", b"0\r\nnonsense\r\n\r\n")):
    echo("chunks: " + name, chunked(body + EVIL), "400 closed")
echo("chunks: size of 17 digits", chunked(b"10000000000000000\r\nx"), "413 closed")
echo("chunks: size of 2^64-1", chunked(b"ffffffffffffffff\r\n" + b"x" * 70000), "413 closed")
echo("chunks: an extension without end", chunked(b"1;" + b"a" * 40000), "400 closed")
echo("chunks: extensions without end", chunked((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 5), "400 closed")
echo("chunks: extensions within the limit", chunked((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 3 + b"0\r\n\r\n"), "200 open", "body 3\nxxx")
echo("chunks: a size of zeros without end", chunked(b"0" * 40000), "400 closed")
echo("chunks: trailers without end", chunked(b"0\r\n" + b"X: " + b"a" * 40000), "431 closed")
echo("chunks: cut in a size", [chunked(b"5"), FIN], "closed")
echo("chunks: cut in a chunk", [chunked(b"5\r\nhe"), FIN], "closed")
echo("chunks: cut before the last", [chunked(b"5\r\nhello\r\n"), FIN], "closed")
for name, body in (("line ends in LF", b"5\nhello\r\n0\r\n\r\n"), ("data ends in LF", b"5\r\nhello\n0\r\n\r\n"), ("data that seems to end in LF", b"6\r\nhello\r\n0\r\n\r\n"),
                   ("all lines end in LF", b"5\nhello\n0\n\n"), ("last line ends in LF", b"5\r\nhello\r\n0\r\n\n"), ("trailer ends in LF", b"0\r\nX: 1\n\r\n"),
                   ("line ends in CR", b"5\rhello\r\n0\r\n\r\n"), ("CR CR LF after the size", b"5\r\r\nhello\r\n0\r\n\r\n"), ("extension with a NUL", b"5;\0\r\nhello\r\n0\r\n\r\n"),
                   ("extension with a bare LF", b"5;a\nb\r\nhello\r\n0\r\n\r\n"), ("extension with a bare CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
                   ("trailer with a space before the colon", b"0\r\nX : 1\r\n\r\n"), ("trailer that is folded", b"0\r\nX: 1\r\n 2\r\n\r\n"),
                   ("trailer with a NUL", b"0\r\nX: \0\r\n\r\n"), ("trailer without a name", b"0\r\n: 1\r\n\r\n")):
    echo("chunks: " + name, chunked(body + EVIL), "400 closed")

# -- Sizes of bodies. --
echo("largest body", post(b"/e", b"x" * 65536), "200 open", "body 65536\n")
echo("a byte more", post(b"/e", b"x" * 65537), "413 closed")
echo("announced, not sent", get(b"/e", b"Content-Length: 65537", method=b"POST"), "413 closed")
echo("18 digits", get(b"/e", b"Content-Length: 999999999999999999", method=b"POST"), "413 closed")
echo("chunks past the largest", chunked(b"10001\r\n" + b"x" * 65537 + b"\r\n0\r\n\r\n"), "413 closed")
echo("chunks without end", chunked(b"1000\r\n" + b"x" * 4096 + b"\r\n" + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 40), "413 closed")
echo("413 of a MiB that is on its way", post(b"/e", b"x" * (1 << 20)), "413 closed")
echo("upload", get(b"/upload", b"Content-Length: 100000", method=b"PUT") + b"\1" * 100000, "201 open", "100000 ")
echo("upload in chunks", get(b"/upload", b"Transfer-Encoding: chunked", method=b"PUT") + (b"4\r\n\1\1\1\1\r\n" * 30000) + b"0\r\n\r\n", "201 open", "120000 ")
echo("upload too large", get(b"/upload?max=1000", b"Content-Length: 1001", method=b"PUT") + b"x" * 1001, "413 closed")
echo("upload in chunks too large", get(b"/upload?max=1000", b"Transfer-Encoding: chunked", method=b"PUT") + b"3e9\r\n" + b"x" * 1001, "413 closed")
echo("upload refused on the way", get(b"/upload?refuse=20000", b"Content-Length: 500000", method=b"PUT") + b"x" * 500000, "507 closed", "refused after ")
echo("upload refused at its end", get(b"/upload?refuse=10", b"Content-Length: 10", method=b"PUT") + b"x" * 10, "507 closed")
echo("upload refused later", get(b"/upload?refuse=20000&defer=1&ms=30", b"Content-Length: 500000", method=b"PUT") + b"x" * 500000, "200 closed")
echo("upload answered later", get(b"/upload?defer=1&ms=30", b"Content-Length: 5", method=b"PUT") + b"x" * 5, "200 open", "path /upload")
echo("upload of nothing", get(b"/upload", b"Content-Length: 0", method=b"PUT"), "201 open", "0 0\n")
echo("upload cut", [get(b"/upload", b"Content-Length: 100", method=b"PUT") + b"x" * 50, FIN], "closed")
echo("upload broken off", [get(b"/upload", b"Content-Length: 100", method=b"PUT") + b"x" * 50, RST], "")
echo("refused at the head", get(b"/forbidden"), "403 open")
echo("refused at the head, body coming", post(b"/forbidden", b"x" * 60000), "403 closed", "no\n")
echo("refused at the head, in chunks", chunked(b"5\r\nhello\r\n0\r\n\r\n", target=b"/forbidden"), "403 closed", lambda a: a.one("x-begin") == "1")

# -- Expect. --
CONTINUE = b"Expect: 100-continue"
echo("100-continue", [get(b"/e", CONTINUE, b"Content-Length: 5", method=b"POST"), "100", b"hello"], "100 200 open", "body 5\nhello")
echo("100-continue in capitals", [get(b"/e", b"Expect: 100-Continue", b"Content-Length: 5", method=b"POST"), "100", b"hello"], "100 200 open", "body 5\nhello")
echo("100-continue, not waited for", get(b"/e", CONTINUE, b"Content-Length: 5", method=b"POST") + b"hello", "100 200 open", "body 5\nhello")
echo("100-continue without a body", get(b"/e", CONTINUE), "100 200 open")
echo("100-continue and chunks", [get(b"/e", CONTINUE, b"Transfer-Encoding: chunked", method=b"POST"), "100", b"0\r\n\r\n"], "100 200 open")
echo("100-continue, refused", get(b"/forbidden", CONTINUE, b"Content-Length: 5", method=b"POST"), "403 closed")
echo("100-continue, too large", get(b"/e", CONTINUE, b"Content-Length: 99999999", method=b"POST"), "413 closed")
echo("100-continue in HTTP/1.0", get(b"/e", CONTINUE, b"Content-Length: 5", method=b"POST", version=b"HTTP/1.0") + b"hello", "200 closed", "body 5\n")

# -- Several on one connection, and pieces of one. --
general("two at once", get(G) * 2, "200 200 open")
general("twenty at once", get(G) * 20, "200 " * 20 + "open")
general("good, then bad", get(G) + get(G, host=b""), "200 400 closed")
general("bad, then good: the good one is not read", get(G, b"Host: b") + get(G), "400 closed")
general("close, then another: it is not read", get(G, b"Connection: close") + get(G), "200 closed")
general("byte by byte", [(get(G),)], "200 open")
general("cut between CR and LF", [get(G)[:-1], 0.05, b"\n"], "200 open")
general("cut in the head's end", [get(G)[:-3], 0.05, b"\n\r\n"], "200 open")
general("one and a half, then the rest", [get(G) + get(G)[:20], 0.05, get(G)[20:]], "200 200 open")
general("a blank line of LF first", b"\n" + get(G), "400 closed")
general("a hundred at once", get(G) * 100, "200 " * 100 + "open")
general("a hundred at once, then a half close", [get(G) * 100, FIN], "200 " * 100 + "closed")
general("every byte that may be cut at", [(get(G, b"X: a", b"Connection: x") + get(G),)], "200 200 open")
general("blank lines between", get(G) + b"\r\n" + get(G), "200 200 open")
general("half close after the request", [get(G), FIN], "200 closed")
general("half close in the head", [get(G)[:20], FIN], "closed")
general("half close at once", [FIN], "closed")
general("reset in the head", [get(G)[:20], RST], "")
general("reset after the request", [get(G), RST], "")
echo("POST, then GET, byte by byte", [(post(b"/e", b"hello") + get(b"/next"),)], "200 200 open", "path /next")
echo("a hundred with bodies at once", post(b"/e", b"hello") * 100, "200 " * 100 + "open", "hello")
echo("a hundred answered later at once", get(b"/defer?ms=0") * 100, "200 " * 100 + "open")
echo("uploads and chunks in turns", (chunked(b"3\r\nabc\r\n0\r\n\r\n") + post(b"/e", b"x" * 5000)) * 20, "200 " * 40 + "open")
echo("a file, then GET", get(b"/file?size=3000000") + get(b"/next"), "200 200 open", "path /next")
echo("a large answer, then GET", post(b"/e", b"x" * 65536) + get(b"/next"), "200 200 open", "path /next")
echo("POST, then GET", post(b"/e", b"hello") + get(b"/next"), "200 200 open", "path /next")
echo("POST cut in its body", [post(b"/e", b"hello")[:-2], 0.05, b"lo" + get(b"/next")], "200 200 open", "path /next")
echo("GET with a body, then GET", get(b"/e", b"Content-Length: 42") + EVIL.ljust(42, b" ")[:42] + get(b"/next"), "200 200 open", "path /next")
echo("deferred, then GET", get(b"/defer?ms=50") + get(b"/next"), "200 200 open", "path /next")
echo("deferred three times", get(b"/defer?ms=10") * 3, "200 200 200 open", "path /defer")
echo("stream, then GET", get(b"/stream?n=3") + get(b"/next"), "200 200 open", "path /next")

# -- Answers. --
for name, request, status in (("two Hosts", get(G, b"Host: other", method=b"HEAD"), "400"), ("HTTP/2.0", get(G, version=b"HTTP/2.0", method=b"HEAD"), "505")):
    general("HEAD refused: " + name, request, status + " closed")
for name, request in (("head", get(G, host=b"")), ("framing", get(G, b"Content-Length: x")), ("line", get(G, version=b"HTTP/1.x"))):
    general("one head in the answer to a bad " + name, request, "400 closed",
            lambda a: a.one("content-type") == "application/problem+json" and a.one("connection") == "close" and b"HTTP/1.1" not in a.body)
general("HEAD", get(G, method=b"HEAD"), "200 open", lambda a: int(a.one("content-length")) > 0)
general("Date is there", get(G), "200 open", lambda a: a.one("date").endswith(" GMT"))
echo("HEAD of a file", get(b"/file?size=5000", method=b"HEAD"), "200 open", lambda a: a.one("content-length") == "5000")
echo("HEAD of a stream", get(b"/stream", method=b"HEAD"), "200 closed", lambda a: not a.all("content-length"))
echo("HEAD answered later", get(b"/defer", method=b"HEAD"), "200 open")
echo("HEAD refused", get(b"/forbidden", method=b"HEAD"), "403 open")
echo("204", get(b"/status?code=204"), "204 open", lambda a: not a.all("content-length") and not a.all("transfer-encoding"))
echo("304", get(b"/status?code=304"), "304 open", lambda a: not a.all("transfer-encoding"))
echo("404 without a body", get(b"/status?code=404"), "404 open", lambda a: a.one("content-length") == "0")
echo("503", get(b"/status?code=503"), "503 open")
echo("headers that could split an answer", get(b"/headers"), "200 open",
     lambda a: a.body == b"100110\n" and a.one("x-good") == "a b\tc" and not a.all("x-injected") and a.all("x-twice") == ["1", "2"])
echo("no answer given", get(b"/none"), "500 closed")
echo("two answers given", get(b"/twice"), "200 open", "first\n")
echo("empty file", get(b"/file?size=0"), "200 open", lambda a: a.body == b"")
echo("file that is shorter than was said", get(b"/file?size=200000&short=100000"), "500 closed")
echo("file that is cut while it goes out", get(b"/file?size=200000&cut=1"), "cut")
echo("stream", get(b"/stream?n=1000&size=100"), "200 open", lambda a: len(a.body) == 100000)
echo("stream of nothing", get(b"/stream?n=0"), "200 open", lambda a: a.body == b"")
echo("stream in HTTP/1.0", get(b"/stream?n=100&size=100", version=b"HTTP/1.0"), "200 closed", lambda a: len(a.body) == 10000)
echo("stream past its queue", get(b"/stream?n=10&size=100&max=450"), "cut")
echo("stream answered later", get(b"/defer?stream=1&ms=20"), "200 open", lambda a: a.body == b"x" * 30)

def pattern(first, length):
    return bytes((i * 131 >> 3) & 255 for i in range(first, first + length))


# -- Pieces. --
for length in (0, 1, 100, 101, 1099, 1100, 5000):
    echo(f"{length} bytes of pieces", get(b"/pieces?len=%d" % length), "200 open", lambda a, length=length: a.body == pattern(0, length) and a.one("content-length") == str(length))
echo("large pieces, then GET", get(b"/pieces?size=1000000&len=2500000") + get(b"/next"), "200 200 open", "path /next")
echo("pieces of nothing between", get(b"/pieces?size=0&len=1000"), "200 open", lambda a: a.body == pattern(0, 1000))
echo("HEAD of pieces", get(b"/pieces?len=5000", method=b"HEAD"), "200 open", lambda a: a.one("content-length") == "5000")
echo("pieces that end before their length", get(b"/pieces?len=5000&break=3"), "cut")
echo("no pieces at all", get(b"/pieces?len=5000&break=0"), "cut")

# -- Ranges. --


def part(first, length, size=1000):
    return lambda a: (a.body == pattern(first, length) and a.one("content-length") == str(length)
                      and a.one("content-range") == f"bytes {first}-{first + length - 1}/{size}")


def whole(a):
    return a.body == pattern(0, 1000) and not a.all("content-range")


for value, check in (("bytes=0-0", part(0, 1)), ("bytes=0-499", part(0, 500)), ("bytes=500-999", part(500, 500)),
                     ("bytes=500-", part(500, 500)), ("bytes=-1", part(999, 1)), ("bytes=-1000", part(0, 1000)),
                     ("bytes=-5000", part(0, 1000)), ("bytes=999-", part(999, 1)), ("bytes=0-", part(0, 1000)),
                     ("bytes=0-5000", part(0, 1000)), ("bytes=999-999", part(999, 1)), ("BYTES=1-2", part(1, 2)),
                     ("bytes= 1-2", part(1, 2)), ("bytes=1-2 ", part(1, 2)), ("bytes=,1-2", part(1, 2)), ("bytes=1-2,", part(1, 2)),
                     ("bytes=0-99999999999999999999999", part(0, 1000)), ("bytes=0001-0002", part(1, 2))):
    echo("range " + value, get(b"/file?size=1000", b"Range: " + value.encode()), "206 open", check)
for value in ("bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=99999999999999999999999-", "bytes=2000-3000"):
    echo("range " + value, get(b"/file?size=1000", b"Range: " + value.encode()), "416 open",
         lambda a: a.one("content-range") == "bytes */1000")
for value in ("bytes=", "bytes=-", "bytes=a-b", "bytes=5-1", "bytes=1-2,4-5", "items=0-1", "bytes 0-1", "bytes=0-1x", "bytes=0 -1",
              "bytes=+1-2", "bytes=1--2", "bytes=--1", "bytes=0x1-2", "bytes=1.0-2", "bytes=1-2;3-4", "bytes=1", "0-1", "",
              "bytes=0-0,-1", "bytes=1-+2"):
    echo("range " + repr(value), get(b"/file?size=1000", b"Range: " + value.encode()), "200 open", whole)
echo("range of a large file's end", get(b"/file?size=8589934592", b"Range: bytes=8589934590-"), "206 open", lambda a: a.body == b"\0\0")
echo("HEAD with a range", get(b"/file?size=1000", b"Range: bytes=0-9", method=b"HEAD"), "206 open", lambda a: a.one("content-length") == "10")

# -- Slowness. The server's deadlines are one second, two for idle connections. --
echo("slow: nothing at all", [], "closed")
echo("slow: a line, then nothing", [b"GET / HTTP/1.1\r\n"], "closed")
echo("slow: a head without its end", [get(b"/e")[:-2]], "closed")
echo("slow: a head that trickles", [x for i in range(60) for x in (b"X-%d: 1\r\n" % i if i else b"GET / HTTP/1.1\r\n", 0.05)], "closed")
echo("slow: blank lines that trickle", [x for i in range(60) for x in (b"\r\n", 0.05)], "closed")
echo("slow: a second head that trickles", [get(b"/e")] + [x for i in range(60) for x in (b"X-%d: 1\r\n" % i if i else b"GET / HTTP/1.1\r\n", 0.05)], "200 closed")
echo("slow: no body", get(b"/e", b"Content-Length: 5", method=b"POST"), "408 closed")
echo("slow: half a body", get(b"/e", b"Content-Length: 5", method=b"POST") + b"he", "408 closed")
echo("slow: a body that trickles", [get(b"/e", b"Content-Length: 5000", method=b"POST")] + [x for i in range(60) for x in (b"xxxx", 0.05)], "408 closed")
echo("slow: no chunk", chunked(b""), "408 closed")
echo("slow: no last chunk", chunked(b"5\r\nhello\r\n"), "408 closed")
echo("slow: trailers that never end", chunked(b"5\r\nhello\r\n0\r\nX: "), "408 closed")
echo("slow: no continuing", [get(b"/e", CONTINUE, b"Content-Length: 5", method=b"POST"), "100"], "100 408 closed")
echo("slow: upload", get(b"/upload", b"Content-Length: 500", method=b"PUT") + b"x" * 100, "408 closed")
echo("slow: idle", [get(b"/hello")], "200 closed")
echo("slow but fast enough", [get(b"/e", b"Content-Length: 40000", method=b"POST")] + [x for i in range(20) for x in (b"x" * 2000, 0.1)], "200 open", "body 40000\n")
echo("slow answer is not the client's fault", get(b"/defer?ms=1500"), "200 open")
