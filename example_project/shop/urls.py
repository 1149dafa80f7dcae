from __future__ import annotations

from django.urls import path

from . import views

app_name = "shop"
urlpatterns = [
    path("", views.ProductList.as_view(), name="home"),
    path("category/<slug:slug>/", views.ProductList.as_view(), name="category"),
    path("product/<slug:sku>/", views.ProductDetail.as_view(), name="product"),
]
