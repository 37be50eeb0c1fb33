//! A hyper server (through axum), as people run it.

use std::{convert::Infallible, future::IntoFuture as _, process};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{Method, StatusCode, header},
    response::Response,
};
use futures_util::stream;
use tokio::signal::unix::{SignalKind, signal};

use super::{LOOK, PART, Told, target};

/// Runs the server until it is stopped in the way that `LEDGER_ON_TERM` names:
/// `default` (no handler), `exit` (handler exits at once), `drain` (graceful shutdown),
/// `drain-then-int` (graceful, and SIGINT ends it at once), `drain-hold` (graceful, then the process
/// lives on until the release).
#[tokio::main]
pub async fn run() -> anyhow::Result<()> {
    let told = Told::from_env()?;
    let app = Router::new().fallback({
        let told = told.clone();
        move |request| answer(told.clone(), request)
    });
    // Handlers before the listener: whoever can connect can also stop us properly.
    let stop = (told.on_term != "default")
        .then(|| signal(told.signal))
        .transpose()?;
    let mut interrupt = (told.on_term == "drain-then-int")
        .then(|| signal(SignalKind::interrupt()))
        .transpose()?;
    let listener = tokio::net::TcpListener::bind(told.listen).await?;
    told.event("listening", "");
    let stopping = {
        let told = told.clone();
        async move {
            let Some(mut stop) = stop else {
                return std::future::pending().await;
            };
            stop.recv().await;
            told.event("stopping", "");
            if told.on_term == "exit" {
                process::exit(0);
            }
        }
    };
    let serve = axum::serve(listener, app)
        .with_graceful_shutdown(stopping)
        .into_future();
    if let Some(interrupt) = interrupt.as_mut() {
        tokio::select! {
            served = serve => served?,
            _ = interrupt.recv() => process::exit(0),
        }
    } else {
        serve.await?;
    }
    if told.on_term == "drain-hold" {
        released(&told).await;
    }
    Ok(())
}

async fn released(told: &Told) {
    while !told.released() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn answer(told: Told, request: Request) -> Response {
    let uri = request.uri().to_string();
    let (path, act, n) = target(&uri);
    let head = request.method() == Method::HEAD;
    told.event("got", path);
    if request.method() == Method::POST {
        if axum::body::to_bytes(request.into_body(), usize::MAX)
            .await
            .is_err()
        {
            return Response::new(Body::empty());
        }
        told.event("body", path);
    }
    let response = Response::builder();
    let response = match act {
        "exit0" => process::exit(0),
        "exit1" => process::exit(1),
        "abort" => process::abort(),
        "hang" => {
            released(&told).await;
            response.body(Body::from(if head { "" } else { "ok" }))
        }
        "part" => response
            .header(header::CONTENT_LENGTH, 2 * PART.len())
            .body(in_two(told, PART)),
        "chunk" => response.body(in_two(told, PART)),
        "sse" => response
            .header(header::CONTENT_TYPE, "text/event-stream")
            .body(in_two(told, b"data: 1\n\n")),
        "big" => response.body(Body::from(vec![b'b'; n])),
        "none" => response.status(StatusCode::NO_CONTENT).body(Body::empty()),
        "same" => response.status(StatusCode::NOT_MODIFIED).body(Body::empty()),
        _ => response.body(Body::from("ok")),
    };
    response.expect("a response built from constants is valid")
}

/// A body of two halves; the second one waits for the release.
fn in_two(told: Told, half: &'static [u8]) -> Body {
    Body::from_stream(stream::unfold(0, move |sent| {
        let told = told.clone();
        async move {
            match sent {
                0 => {}
                1 => released(&told).await,
                _ => return None,
            }
            Some((Ok::<_, Infallible>(Bytes::from_static(half)), sent + 1))
        }
    }))
}
