use axum::{
    body::Body,
    http::{Method, Request},
};
use drainwatch_core::report::{Cause, FindingCode, Reason, Trigger, Verdict};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::*;

async fn ask(request: Request<Body>) -> Response {
    let app = TowerToHyperService::new(router("/metrics", "paths\n".into()));
    app.call(request).await.unwrap()
}

async fn get(path: &str, headers: &[(HeaderName, &str)]) -> Response {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    ask(request.body(Body::empty()).unwrap()).await
}

fn header_of(response: &Response, name: HeaderName) -> &str {
    response.headers()[name].to_str().unwrap()
}

async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

#[tokio::test]
async fn given_a_browser_then_it_gets_the_page_and_anyone_else_the_paths() {
    let page = get("/?id=x&q=y", &[(header::ACCEPT, BROWSER)]).await;
    assert_eq!(header_of(&page, header::CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!(header_of(&page, header::VARY), "accept");
    let page = text(page).await;
    assert!(page.starts_with("<!doctype html>"));
    assert!(page.contains("href=\"metrics\""), "the path of the metrics");
    assert!(page.contains(env!("CARGO_PKG_VERSION")));

    let index = get("/", &[(header::ACCEPT, "*/*")]).await;
    assert_eq!(
        header_of(&index, header::CONTENT_TYPE),
        "text/plain; charset=utf-8"
    );
    assert_eq!(text(index).await, "paths\n");
}

#[tokio::test]
async fn given_any_file_then_it_is_guarded_and_known_again() {
    let names = FILES.map(|(name, _, _)| format!("{FOLDER}{name}"));
    for path in names.iter().map(String::as_str).chain(["/"]) {
        let file = get(path, &[(header::ACCEPT, BROWSER)]).await;
        assert_eq!(file.status(), StatusCode::OK, "{path}");
        for guard in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(
                header_of(&file, header::CONTENT_SECURITY_POLICY).contains(guard),
                "{path}"
            );
        }
        assert!(!header_of(&file, header::CONTENT_SECURITY_POLICY).contains("unsafe"));
        assert_eq!(header_of(&file, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(header_of(&file, header::REFERRER_POLICY), "no-referrer");
        let tag = header_of(&file, header::ETAG).to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
            let asked = [(header::ACCEPT, BROWSER), (header::IF_NONE_MATCH, &*known)];
            let again = get(path, &asked).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path} {known}");
            assert_eq!(header_of(&again, header::ETAG), tag);
            assert_eq!(text(again).await, "");
        }
        let asked = [(header::ACCEPT, BROWSER), (header::IF_NONE_MATCH, "\"other\"")];
        assert_eq!(get(path, &asked).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn given_head_then_the_same_headers_and_no_body() {
    let request = Request::builder()
        .method(Method::HEAD)
        .uri("/page/main.js")
        .body(Body::empty())
        .unwrap();
    let answer = ask(request).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(header_of(&answer, header::CONTENT_TYPE), SCRIPT);
    assert_eq!(text(answer).await, "");
}

#[test]
fn given_the_files_then_they_name_nothing_outside_and_make_no_markup_of_strings() {
    for (name, _, content) in FILES.into_iter().chain([("index.html", "", INDEX)]) {
        let outside = content.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("://"), "{name} names another server");
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!content.contains(sink), "{name}: {sink}");
        }
        assert!(!content.contains("=\"/"), "{name}: not below a prefix");
    }
    assert!(!INDEX.contains("<style") && !INDEX.contains(" style=") && !INDEX.contains(" on"));
}

#[test]
fn given_the_closed_lists_then_the_page_has_words_for_each() {
    let (_, _, words) = FILES.into_iter().find(|(name, ..)| *name == "words.js").unwrap();
    let lists = [
        Trigger::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>(),
        Reason::ALL.iter().map(|word| word.as_str()).collect(),
        Verdict::ALL.iter().map(|word| word.as_str()).collect(),
        Cause::ALL.iter().map(|word| word.as_str()).collect(),
        FindingCode::ALL.iter().map(|word| word.as_str()).collect(),
    ];
    for word in lists.concat() {
        assert!(words.contains(&format!("\n  {word}: ")), "{word}");
    }
}
