//! What the application answers by HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::book::Book;

/// Answers until the program ends.
pub(super) async fn serve(listener: TcpListener, book: Arc<Book>) {
    let router = Router::new()
        .route("/ready", get(ready))
        .route("/tally", get(tally))
        .with_state(book);
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("consumer: {error}");
    }
}

async fn ready(State(book): State<Arc<Book>>) -> StatusCode {
    if book.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn tally(State(book): State<Arc<Book>>) -> Response {
    match book.json() {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}
